import { cleanPath } from "../../fs/index.js";
import { LayerPlan } from "../copy/layer-plan.js";
import type { BuildEngine } from "../engine.js";
import type { StageState } from "../state.js";
import { ownerFor } from "../users.js";
import type { PreparedStep } from "./step.js";

/**
 * Prepares a WORKDIR: a layer with the missing directories (0755, owned by USER), or none
 * when it is there already. Source: BuildKit.
 */
export function prepareWorkdir(path: string, state: StageState): PreparedStep {
  const user = userOf(state);
  return {
    components: [
      { name: "workdir", value: path, label: "the instruction" },
      ...(user === "" ? [] : [{ name: "user", value: user, label: "USER" }]),
    ],
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
  const wanted = cleanPath(path);
  const user = userOf(state);
  const owner = user === "" ? { uid: 0, gid: 0 } : ownerFor(below, user);
  plan.makeDir(wanted, { owner, mtimeNs: engine.times.made });
  if (plan.isEmpty) return {};
  const { diffId } = await (await engine.snapshotter()).write(plan.changes(), engine.signal);
  return { diffId };
}

const userOf = ({ config }: StageState): string => config.config.User ?? "";
