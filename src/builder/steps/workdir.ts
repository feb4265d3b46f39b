import { cleanPath } from "../../fs/index.js";
import { LayerPlan } from "../copy/layer-plan.js";
import type { BuildEngine } from "../engine.js";
import type { StageState } from "../state.js";
import type { PreparedStep } from "./step.js";

/** Prepares a WORKDIR: a layer with the missing directories (root, 0755), or none when it is there already. */
export function prepareWorkdir(path: string, state: StageState): PreparedStep {
  return {
    components: [{ name: "workdir", value: path, label: "the instruction" }],
    createdBy: `WORKDIR ${path}`,
    execute: (engine) => execute(path, state, engine),
  };
}

async function execute(
  path: string,
  state: StageState,
  engine: BuildEngine,
): ReturnType<PreparedStep["execute"]> {
  using below = await (await engine.snapshotter()).view(state.config.rootfs.diff_ids);
  const plan = new LayerPlan(below);
  plan.makeDir(cleanPath(path), { uid: 0, gid: 0 }, engine.times.made);
  if (plan.isEmpty) return {};
  const { diffId } = await (await engine.snapshotter()).write(plan.changes(), engine.signal);
  return { diffId };
}
