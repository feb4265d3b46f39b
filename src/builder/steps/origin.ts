import type { BuildContext } from "../../context/index.js";
import type { DiffId } from "../../image/index.js";
import { chainIdOf } from "../../image/index.js";
import type { CopySource } from "../copy/select.js";
import type { CopyOrigin } from "../copy/sources.js";
import type { Origin } from "../origins.js";
import type { StageOptions } from "../stage.js";

/** What a `from` means, ready to be read; undefined: the build context. Waits for a stage. */
export async function openOrigin(origin: Origin | undefined, options: StageOptions): Promise<CopyOrigin> {
  const { engine } = options;
  if (origin === undefined)
    return contextOrigin("the build context", () => Promise.resolve(engine.context()));
  if (origin.kind === "context")
    return contextOrigin(`build context "${origin.name}"`, () => engine.namedContext(origin.name));
  const { name, layers } = await layersOf(origin, options);
  const open = async (): Promise<CopySource & Disposable> => {
    const tree = await (await engine.snapshotter()).view(layers);
    return { tree, name, keepOwner: true, [Symbol.dispose]: () => tree[Symbol.dispose]() };
  };
  return { open, layers, chain: chainIdOf(layers) ?? "scratch" };
}

async function layersOf(
  origin: Exclude<Origin, { readonly kind: "context" }>,
  { plan, engine, resultOf }: StageOptions,
): Promise<{ readonly name: string; readonly layers: readonly DiffId[] }> {
  switch (origin.kind) {
    case "scratch":
      return { name: "scratch", layers: [] };
    case "stage": {
      const { state } = await resultOf(origin.stage);
      const { name = origin.stage } = plan.stages[origin.stage] ?? {};
      return { name: `stage "${name}"`, layers: state.config.rootfs.diff_ids };
    }
    case "image": {
      const { config } = await engine.baseImage(origin.name, origin.platform);
      return { name: `image ${origin.name}`, layers: config.rootfs.diff_ids };
    }
  }
}

function contextOrigin(name: string, opened: () => Promise<BuildContext>): CopyOrigin {
  const open = async (): Promise<CopySource> => {
    const tree = await opened();
    return { tree, name, keepOwner: false, isIgnored: (path: string) => tree.isIgnored(path) };
  };
  return { open };
}
