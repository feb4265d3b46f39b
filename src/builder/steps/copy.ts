import type { KeyComponent } from "../../cache/index.js";
import { CooperError } from "../../errors.js";
import type { FileTree, OpenFile, TreeEntry } from "../../fs/index.js";
import { cleanPath, joinPath, parentOf } from "../../fs/index.js";
import { digestOf } from "../../image/index.js";
import type { DiffId } from "../../image/index.js";
import type { Snapshotter } from "../../snapshot/index.js";
import type { CopyInstruction, Flag } from "../../parser/index.js";
import { expandHeredoc } from "../../parser/index.js";
import { planArchive } from "../copy/archive.js";
import type { Chmod } from "../copy/chmod.js";
import { parseChmod } from "../copy/chmod.js";
import type { CopyInputs } from "../copy/inputs.js";
import { copyInputs } from "../copy/inputs.js";
import { LayerPlan } from "../copy/layer-plan.js";
import type { CopyTarget } from "../copy/layout.js";
import { planCopy } from "../copy/layout.js";
import type { CopySource, Selected } from "../copy/select.js";
import { selectSources } from "../copy/select.js";
import type { BuildEngine } from "../engine.js";
import { expandAt } from "../expand.js";
import type { StageState } from "../state.js";
import { absolutePath, lookupIn } from "../state.js";
import { resolveOwner } from "../users.js";
import type { Expansion } from "../expand.js";
import type { PreparedStep, StepSite } from "./step.js";

/** A file that a heredoc of COPY or ADD makes. */
interface HeredocFile {
  readonly name: string;
  readonly content: string;
}

/** Everything an instruction says, expanded. */
interface CopyRequest {
  readonly verb: "COPY" | "ADD";
  readonly words: readonly string[];
  readonly heredocs: readonly HeredocFile[];
  readonly destination: string;
  readonly chown?: string;
  readonly chmod?: Chmod;
  readonly chmodText?: string;
}

/** Where a COPY or ADD reads, opened when it must be. */
export interface CopyOrigin {
  /** The build context, or a view of a stage or image that the caller of `open` disposes. */
  readonly open: () => Promise<CopySource & Partial<Disposable>>;
  /** Names content that never changes (a stack of layers); missing for the build context. */
  readonly chain?: string;
}

/** Prepares a COPY or ADD: finds the files and their digests for the key. Executing it writes them as a layer. */
export async function prepareCopy(
  instruction: CopyInstruction,
  state: StageState,
  site: StepSite,
  at: Expansion,
  origin: CopyOrigin,
  engine: BuildEngine,
): Promise<PreparedStep> {
  const request = requestOf(instruction, state, at);
  const { inputs, selected } = await inputsOf(request, origin, engine);
  const { selection, files } = inputs;
  return {
    components: [
      ...keyOf(request, instruction),
      { name: "selection", value: selection, label: "the set of sources" },
    ],
    files,
    createdBy: site.text,
    execute: () => execute({ request, state, origin, selected, engine }),
  };
}

/** `selected` stays for the execution when the source may change meanwhile: what is copied is then what the key tells of. */
interface Examined {
  readonly inputs: CopyInputs;
  readonly selected?: readonly Selected[];
}

/** Inputs of a stage or image are remembered by its layers: a cached build reads no file of them. */
async function inputsOf(request: CopyRequest, origin: CopyOrigin, engine: BuildEngine): Promise<Examined> {
  if (origin.chain === undefined) {
    const source = await origin.open();
    const selected = selectSources(source, request.words, request.verb);
    return { inputs: copyInputs(source, selected), selected };
  }
  const memo = digestOf(JSON.stringify(["copy-inputs", origin.chain, request.words]));
  const known = engine.cache.memo(memo);
  if (known !== undefined) return { inputs: JSON.parse(known) as CopyInputs };
  engine.requirePrivileges();
  const source = await origin.open();
  try {
    const inputs = copyInputs(source, selectSources(source, request.words, request.verb));
    engine.cache.setMemo(memo, JSON.stringify(inputs));
    return { inputs };
  } finally {
    source[Symbol.dispose]?.();
  }
}

function requestOf(instruction: CopyInstruction, state: StageState, at: Expansion): CopyRequest {
  const lookup = lookupIn(state);
  const flagValue = (name: string): string | undefined => {
    const flag = instruction.flags.find((f: Flag) => f.name === name);
    return flag?.value === undefined
      ? undefined
      : expandAt(at.source, { text: flag.value, span: flag.span }, at.escape, lookup);
  };
  const chmodText = flagValue("chmod");
  const chown = flagValue("chown");
  const destination = expandAt(at.source, instruction.destination, at.escape, lookup);
  refuseManyToOne(instruction, destination);
  return {
    verb: instruction.kind,
    words: instruction.sources.map((word) => expandAt(at.source, word, at.escape, lookup)),
    heredocs: instruction.heredocs.map((heredoc) => ({
      name: heredoc.name,
      content: heredoc.expand ? expandHeredoc(heredoc.body, lookup, { escape: at.escape }) : heredoc.body,
    })),
    destination: absolutePath(state.config.config, destination),
    ...(chown === undefined ? {} : { chown }),
    ...(chmodText === undefined ? {} : { chmodText, chmod: parseChmod(chmodText) }),
  };
}

function keyOf(request: CopyRequest, instruction: CopyInstruction): readonly KeyComponent[] {
  const from = instruction.flags.find((flag) => flag.name === "from")?.value ?? "";
  return [
    { name: "copy", value: JSON.stringify([request.verb, request.words, from]), label: "the instruction" },
    { name: "destination", value: request.destination, label: "the destination" },
    { name: "chown", value: request.chown ?? "", label: "--chown" },
    { name: "chmod", value: request.chmodText ?? "", label: "--chmod" },
    { name: "heredocs", value: JSON.stringify(request.heredocs), label: "the here-document" },
  ];
}

/** What the execution of a step needs. */
interface CopyWork {
  readonly request: CopyRequest;
  readonly state: StageState;
  readonly origin: CopyOrigin;
  readonly selected: readonly Selected[] | undefined;
  readonly engine: BuildEngine;
}

async function execute(work: CopyWork): Promise<{ readonly diffId?: DiffId }> {
  const { state, origin, engine } = work;
  const snapshotter = await engine.snapshotter();
  using below = await snapshotter.view(state.config.rootfs.diff_ids);
  const source = await origin.open();
  const archives: OpenFile[] = [];
  try {
    const plan = new LayerPlan(below);
    await planAll(plan, work, source, archives);
    const { diffId } = await snapshotter.write(plan.changes(), engine.signal);
    // Throws when an archive changed while its members were written.
    for (let archive = archives.pop(); archive; archive = archives.pop()) archive.close();
    return { diffId };
  } finally {
    closeAll(archives);
    source[Symbol.dispose]?.();
  }
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

async function planAll(
  plan: LayerPlan,
  work: CopyWork,
  source: CopySource,
  opened: OpenFile[],
): Promise<void> {
  const { request, engine } = work;
  const selected = work.selected ?? selectSources(source, request.words, request.verb);
  const owner = request.chown === undefined ? undefined : resolveOwner(plan.below, request.chown);
  const target = {
    path: request.destination,
    ...(owner ? { owner } : {}),
    ...(request.chmod ? { chmod: request.chmod } : {}),
  };
  const snapshotter = await engine.snapshotter();
  const archives =
    request.verb === "ADD" ? selected.filter((one) => isArchive(one.entry, source.tree, snapshotter)) : [];
  const plain = selected.filter((one) => !archives.includes(one));
  for (const { entry } of archives) {
    const file = source.tree.open(entry);
    opened.push(file);
    await planArchive(plan, entry, file, target, engine);
  }
  if (plain.length > 0) planCopy(plan, source, plain, target);
  for (const heredoc of request.heredocs) planHeredoc(plan, heredoc, target, engine.times.made);
}

/** Source: Dockerfile reference, "COPY". */
function refuseManyToOne(instruction: CopyInstruction, destination: string): void {
  const count = instruction.sources.length + instruction.heredocs.length;
  if (count <= 1 || /(?:^|\/)\.{0,2}$/.test(destination)) return;
  throw new CooperError(
    "usage",
    `${instruction.kind} with more than one source needs a destination that ends with "/"`,
  );
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
  const dest = plan.resolve(cleanPath(target.path), true);
  const intoDir = target.path.endsWith("/") || plan.lstat(dest)?.type === "dir";
  const dir = plan.makeDir(intoDir ? dest : parentOf(dest), owner, mtimeNs);
  const bytes = Buffer.from(heredoc.content);
  const mode = target.chmod ? target.chmod(0o644, false) : 0o644;
  const path = intoDir ? joinPath(dir, cleanPath(heredoc.name)) : dest;
  plan.add({ path, type: "file", mode, ...owner, size: bytes.length, mtimeNs }, () => bytes);
}
