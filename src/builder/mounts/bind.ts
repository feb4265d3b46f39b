import { mkdirSync } from "node:fs";
import { posix } from "node:path";
import type { InputFile } from "../../cache/index.js";
import { inputFile } from "../../cache/index.js";
import { CooperError, ioError } from "../../errors.js";
import type { BytePath, FileTree } from "../../fs/index.js";
import { cleanPath, resolvePath, ROOT, textOf, walkTree } from "../../fs/index.js";
import { digestOf } from "../../image/index.js";
import type { BindMount } from "../../parser/index.js";
import type { SandboxRootfs } from "../../runtime/index.js";
import type { CopySource } from "../copy/select.js";
import type { CopyOrigin } from "../copy/sources.js";
import type { BuildEngine } from "../engine.js";
import { commonOf, componentOf, targetIn } from "./common.js";
import type { MountSite } from "./index.js";
import { subTree } from "./sub-tree.js";
import type { OpenMount, PreparedMount } from "./types.js";
import { plainMount } from "./types.js";

/**
 * Shows a path of the build context, of a stage or of an image. What it shows is part of the key, by content; what is
 * written to it is gone with the step. Throws `not-found`.
 */
export async function prepareBind(
  mount: BindMount,
  site: MountSite,
  origin: CopyOrigin,
  engine: BuildEngine,
): Promise<PreparedMount> {
  const { layers } = origin;
  const target = targetIn(site, mount.target);
  const shown = await contentOf(mount, origin, engine);
  // Where it stands is part of each path, so that two mounts of one RUN cannot be mistaken for each other.
  const files = shown.files.map((file) => ({ ...file, path: posix.join(target, file.path) }));
  return {
    // Two sources that hold the same are the same.
    components: [componentOf({ ...mount, source: "" }, site)],
    files,
    open: () =>
      layers === undefined
        ? openContext(mount, site, shown, engine)
        : openLayers(mount, site, layers, engine),
  };
}

interface Shown {
  /** By paths below the source. */
  readonly files: readonly InputFile[];
  /** Of a build context. */
  readonly tree?: FileTree;
}

/** What the source holds; of a stage or image it is remembered by the layers, so that a cached build reads nothing. */
async function contentOf({ source }: BindMount, origin: CopyOrigin, engine: BuildEngine): Promise<Shown> {
  const { chain } = origin;
  if (chain === undefined) {
    const context = await origin.open();
    const tree = subTree(context, findSource(context, source));
    return { tree, files: inputsOf(tree) };
  }
  const memo = digestOf(JSON.stringify(["bind-inputs", chain, cleanPath(source)]));
  const known = engine.cache.memo(memo);
  if (known !== undefined) return { files: JSON.parse(known) as readonly InputFile[] };
  engine.requirePrivileges();
  const opened = await origin.open();
  try {
    const files = inputsOf(subTree(opened, findSource(opened, source)));
    engine.cache.setMemo(memo, JSON.stringify(files));
    return { files };
  } finally {
    opened[Symbol.dispose]?.();
  }
}

/** Links are followed as inside a root file system: none leads out of the tree (hazard C01). */
function findSource({ tree, name, isIgnored }: CopySource, source: string): BytePath {
  const path = resolvePath(tree, cleanPath(source), { followLast: true });
  if (tree.lstat(path)) return path;
  const ignored = isIgnored?.(textOf(path)) === true;
  throw new CooperError("not-found", `RUN --mount: source "${source}" not found in ${name}`, {
    hint: ignored
      ? "the file exists, but the ignore file of the context hides it"
      : `paths are relative to the root of ${name}`,
  });
}

function inputsOf(tree: FileTree): readonly InputFile[] {
  const firstOfLink = new Map<string, string>();
  return [...walkTree(tree, ROOT)].map((entry) => {
    const { linkId, path } = entry;
    const linkedTo = linkId === undefined ? undefined : firstOfLink.get(linkId);
    if (linkId !== undefined && linkedTo === undefined) firstOfLink.set(linkId, path);
    return inputFile(path, entry, entry.type === "file" ? tree.digest(entry) : undefined, linkedTo);
  });
}

async function openLayers(
  mount: BindMount,
  site: MountSite,
  layers: NonNullable<CopyOrigin["layers"]>,
  engine: BuildEngine,
): Promise<OpenMount> {
  const rootfs = await (await engine.snapshotter()).prepare(layers, engine.signal);
  const inside = posix.resolve("/", mount.source);
  return {
    mounts: [{ type: "layers", rootfs, inside, ...commonOf(mount, site) }],
    env: {},
    [Symbol.asyncDispose]: () => rootfs[Symbol.asyncDispose]() as Promise<void>,
  };
}

/** Directories that hold what a context's path held, by the digest of it; they stay until the build's scratch directory goes. */
const copies = new WeakMap<BuildEngine["store"], Map<string, Promise<string>>>();
let made = 0;

/** A directory of the build's own, below its scratch directory. */
function newDirectory(engine: BuildEngine): string {
  made += 1;
  const dir = `${engine.scratchDir()}/bind-${made}`;
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    throw ioError("make", dir, error);
  }
  return dir;
}

/** The context as a build sees it is nowhere on the disk: without what is ignored, and root's. So it is copied, once a build. */
async function openContext(
  mount: BindMount,
  site: MountSite,
  { files, tree }: Shown,
  engine: BuildEngine,
): Promise<OpenMount> {
  if (!tree) throw new Error("a context without files");
  const known = copies.get(engine.store) ?? new Map<string, Promise<string>>();
  copies.set(engine.store, known);
  const digest = digestOf(JSON.stringify(files.map((file) => file.digest)));
  const copying = known.get(digest) ?? copyTree(tree, engine);
  known.set(digest, copying);
  const dir = await copying;
  if (mount.readOnly) return plainMount([{ type: "bind", source: `${dir}/shown`, ...commonOf(mount, site) }]);
  const own = newDirectory(engine);
  for (const name of ["upper", "work"]) mkdirSync(`${own}/${name}`, { mode: 0o755 });
  const rootfs: SandboxRootfs = {
    kind: "overlay",
    lowerDirs: [dir],
    upperDir: `${own}/upper`,
    workDir: `${own}/work`,
  };
  return plainMount([{ type: "layers", rootfs, inside: "/shown", ...commonOf(mount, site) }]);
}

async function copyTree(tree: FileTree, engine: BuildEngine): Promise<string> {
  const [{ writeTree }, { treeSyscalls }] = await Promise.all([
    import("../../archive/index.js"),
    import("../../runtime/index.js"),
  ]);
  const dir = newDirectory(engine);
  writeTree(tree, `${dir}/shown`, treeSyscalls(), engine.signal);
  return dir;
}
