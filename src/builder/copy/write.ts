import type { FileTree, OpenFile, TreeEntry } from "../../fs/index.js";
import { cleanPath } from "../../fs/index.js";
import type { DiffId } from "../../image/index.js";
import type { Snapshotter } from "../../snapshot/index.js";
import type { BuildEngine } from "../engine.js";
import type { StageState } from "../state.js";
import { resolveOwner } from "../users.js";
import { planArchive } from "./archive.js";
import { EMPTY_TREE, LayerPlan } from "./layer-plan.js";
import type { CopyTarget } from "./layout.js";
import { fileDestination, planCopy } from "./layout.js";
import type { RemoteSource } from "./remote.js";
import type { CopyRequest, HeredocFile } from "./request.js";
import type { CopySource, Selected } from "./select.js";
import type { CopyOrigin } from "./sources.js";
import { selectAll } from "./sources.js";

/** What the execution of a step needs. */
export interface CopyWork {
  readonly request: CopyRequest;
  readonly state: StageState;
  readonly origin: CopyOrigin;
  /** Local sources, when they were found for the key and may change meanwhile. */
  readonly selected: readonly Selected[] | undefined;
  readonly remotes: ReadonlyMap<number, RemoteSource>;
  readonly engine: BuildEngine;
}

/** One source, with where it is read. */
interface Item {
  readonly source: CopySource;
  readonly one: Selected;
  readonly mayUnpack: boolean;
}

/** Writes the layer of a COPY or ADD. */
export async function writeCopy(work: CopyWork): Promise<{ readonly diffId: DiffId }> {
  const { state, engine, request } = work;
  const snapshotter = await engine.snapshotter();
  using below = await snapshotter.view(state.config.rootfs.diff_ids);
  const opened: Disposable[] = [];
  const archives: OpenFile[] = [];
  try {
    const items = await openItems(work, opened);
    const plan = new LayerPlan(request.link ? EMPTY_TREE : below);
    const owner = request.chown === undefined ? undefined : resolveOwner(below, request.chown);
    const target = {
      path: request.destination,
      ...(owner ? { owner } : {}),
      ...(request.chmod ? { chmod: request.chmod } : {}),
    };
    for (const item of items) await planItem(plan, item, target, archives, engine);
    for (const heredoc of request.heredocs) planHeredoc(plan, heredoc, target, engine.times.made);
    const { diffId } = await snapshotter.write(plan.changes(), engine.signal);
    // Throws when an archive changed while its members were written.
    for (let archive = archives.pop(); archive; archive = archives.pop()) archive.close();
    return { diffId };
  } finally {
    closeAll(archives);
    for (const one of opened) one[Symbol.dispose]();
  }
}

/** All sources in the order in which the instruction names them. What must be closed goes into `opened`. */
async function openItems(work: CopyWork, opened: Disposable[]): Promise<readonly Item[]> {
  const { request, origin, remotes } = work;
  const source = await origin.open();
  opened.push({ [Symbol.dispose]: () => source[Symbol.dispose]?.() });
  const isAdd = request.verb === "ADD";
  const items: Item[] = (work.selected ?? selectAll(source, request)).map((one) => ({
    source,
    one,
    mayUnpack: isAdd && request.unpack !== false,
  }));
  for (const remote of remotes.values()) {
    const fetched = await remote.open();
    opened.push(fetched);
    const mayUnpack = fetched.isBody && request.unpack === true;
    for (const one of fetched.selected) items.push({ source: fetched.source, one, mayUnpack });
  }
  return items.toSorted((a, b) => a.one.word - b.one.word);
}

async function planItem(
  plan: LayerPlan,
  { source, one, mayUnpack }: Item,
  target: CopyTarget,
  archives: OpenFile[],
  engine: BuildEngine,
): Promise<void> {
  if (!mayUnpack || !isArchive(one.entry, source.tree, await engine.snapshotter())) {
    planCopy(plan, source, one, target);
    return;
  }
  const file = source.tree.open(one.entry);
  archives.push(file);
  await planArchive(plan, one.entry, file, target, engine);
}

function isArchive(entry: TreeEntry, tree: FileTree, snapshotter: Snapshotter): boolean {
  if (entry.type !== "file" || entry.size === 0) return false;
  const file = tree.open(entry);
  try {
    return snapshotter.isArchive(file);
  } finally {
    file.close();
  }
}

function planHeredoc(plan: LayerPlan, heredoc: HeredocFile, target: CopyTarget, mtimeNs: bigint): void {
  const owner = target.owner ?? { uid: 0, gid: 0 };
  const path = fileDestination(plan, target, cleanPath(heredoc.name), mtimeNs);
  const bytes = Buffer.from(heredoc.content);
  const mode = target.chmod ? target.chmod.apply(0o644, false) : 0o644;
  plan.add({ path, type: "file", mode, ...owner, size: bytes.length, mtimeNs }, () => bytes);
}

/** After a failure, which is what the user must see, and not what closing finds. */
function closeAll(files: readonly OpenFile[]): void {
  for (const file of files) {
    try {
      file.close();
    } catch {
      // The step has failed already.
    }
  }
}
