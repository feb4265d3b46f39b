import {
  fstatSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import type { BigIntStats } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../errors.js";
import { fsPath, removeTreeSync } from "../fs/index.js";
import { openInRoot } from "./root-walk.js";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH } from "./syscalls.js";
import { cBytes, close, openAt, syscall, syscallError } from "./syscalls.js";
import { treeSyscalls } from "./tree-syscalls.js";
import type { RestoredFile } from "./types.js";

const SYSTEM = ["proc", "sys", "dev"];

/** Puts something at a free path (a byte string); what it returns is called before that is taken away again. */
export type Maker = (path: string) => (() => void) | void;

/**
 * Places of a root file system that are ours while a process runs in it. What was there is moved aside, beside the root
 * file system, and comes back; the process never sees it, so it comes back unchanged. Everything is found and done by
 * descriptors: whatever links a process left, nothing outside is touched (hazard C06).
 */
export interface Loans {
  readonly rootFd: number;
  /** Puts something where a mount would be, links resolved inside the root. Throws EINVAL for the root and the system's places. */
  at(target: string, kind: "directory" | "file", make: Maker): void;
  /** Puts something at a name of the root directory, whatever is there. */
  atTop(name: string, make: Maker): void;
  /** Leaves a line where `notesOf` finds it, for whoever cleans up when this process has died before it gave back. */
  note(text: string): void;
  /** After the last loan: from now on the process may change things. */
  settle(): void;
  /** Takes everything away and puts back what was there. Returns what now looks changed and is not. */
  giveBack(): readonly RestoredFile[];
}

interface Loan {
  readonly parentFd: number;
  readonly name: string;
  /** Where the original is, if there was one. */
  readonly aside: string | undefined;
  readonly before: (() => void) | void;
}

/** A directory that we change: its time is to be what it was, unless the process changes it, too. */
interface Watched {
  readonly fd: number;
  readonly mtimeNs: bigint;
  settled: BigIntStats | undefined;
}

/** A directory that had to be made on the way to a target. */
interface Stub {
  readonly parentFd: number;
  readonly name: string;
  readonly ino: bigint;
}

interface State {
  readonly rootFd: number;
  /** A directory of ours on the same file system. */
  readonly asideDir: string;
  readonly loans: Loan[];
  readonly stubs: Stub[];
  readonly watched: Map<bigint, Watched>;
  moved: number;
}

const ASIDE = "aside-";
const NOTE = "note-";

/** What was noted for a root file system whose loans were never given back. */
export function notesOf(dir: string): readonly string[] {
  const beside = dirname(dir);
  return readdirSync(beside)
    .filter((name) => name.startsWith(ASIDE))
    .flatMap((aside) => readdirSync(`${beside}/${aside}`).map((name) => `${aside}/${name}`))
    .filter((path) => path.includes(`/${NOTE}`))
    .map((path) => readFileSync(`${beside}/${path}`, "utf8"));
}

export function openLoans(dir: string): Loans {
  const state: State = {
    rootFd: openAt(AT_FDCWD, dir, O_PATH | O_DIRECTORY),
    asideDir: mkdtempSync(`${dirname(dir)}/${ASIDE}`),
    loans: [],
    stubs: [],
    watched: new Map(),
    moved: 0,
  };
  return {
    rootFd: state.rootFd,
    at: (target, kind, make) => lendAt(state, target, kind, make),
    atTop: (name, make) => lend(state, openNames(state.rootFd, []), name, make),
    note: (text) => {
      state.moved += 1;
      writeFileSync(`${state.asideDir}/${NOTE}${state.moved}`, text);
    },
    settle: () => settleAll(state),
    giveBack: () => giveBack(state),
  };
}

function lendAt(state: State, target: string, kind: "directory" | "file", make: Maker): void {
  const made: (readonly string[])[] = [];
  const before = (names: readonly string[]): void => {
    refuseSystemPlace(target, names);
    watch(state, openNames(state.rootFd, names.slice(0, -1)));
    made.push(names);
  };
  const found = openInRoot(state.rootFd, target, { kind, before });
  if (found === undefined) throw syscallError("ENOENT", "openat", target);
  close(found.fd);
  const { names } = found;
  refuseSystemPlace(target, names);
  const parentFd = openNames(state.rootFd, names.slice(0, -1));
  const name = names.at(-1) ?? "";
  for (const stub of made) {
    if (stub.length === names.length) remove(placeOf(parentFd, name), kind);
    else noteStub(state, stub);
  }
  lend(state, parentFd, name, make);
}

/** A link in the image may have led the target to the root itself, or to where our own files will be (hazard C10). */
function refuseSystemPlace(target: string, names: readonly string[]): void {
  const [first] = names;
  if (first === undefined || SYSTEM.includes(first)) throw syscallError("EINVAL", "openat", target);
}

function noteStub(state: State, names: readonly string[]): void {
  const parentFd = openNames(state.rootFd, names.slice(0, -1));
  const name = names.at(-1) ?? "";
  const { ino } = lstatSync(fsPath(placeOf(parentFd, name)), { bigint: true });
  state.stubs.push({ parentFd, name, ino });
}

function lend(state: State, parentFd: number, name: string, make: Maker): void {
  watch(state, parentFd);
  const path = placeOf(parentFd, name);
  const aside = moveAside(state, path);
  const loan = { parentFd, name, aside };
  // Even if making fails half-way: then it is taken away all the same.
  const at = state.loans.push({ ...loan, before: undefined }) - 1;
  state.loans[at] = { ...loan, before: make(path) };
}

function watch(state: State, fd: number): void {
  const { ino, mtimeNs } = fstatSync(fd, { bigint: true });
  if (!state.watched.has(ino)) state.watched.set(ino, { fd, mtimeNs, settled: undefined });
}

/** Directories are opened by their own names from the root, never through a link. */
function openNames(rootFd: number, names: readonly string[]): number {
  const flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  let fd = syscall("openat", undefined, rootFd, cBytes("."), flags, 0);
  for (const name of names) {
    const next = syscall("openat", name, fd, cBytes(name), flags, 0);
    close(fd);
    fd = next;
  }
  return fd;
}

function placeOf(parentFd: number, name: string): string {
  return `/proc/self/fd/${parentFd}/${name}`;
}

function moveAside(state: State, path: string): string | undefined {
  state.moved += 1;
  const aside = `${state.asideDir}/${state.moved}`;
  try {
    renameSync(fsPath(path), aside);
    return aside;
  } catch (error) {
    // A place that was removed, or whose directory was.
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function remove(path: string, kind: "directory" | "file"): void {
  if (kind === "directory") rmdirSync(fsPath(path));
  else unlinkSync(fsPath(path));
}

/** Waits until a change would get a later time than ours: the kernel's clock may stand still for some ms. */
function settleAll(state: State): void {
  let youngest = 0n;
  for (const watched of state.watched.values()) {
    watched.settled = fstatSync(watched.fd, { bigint: true });
    if (watched.settled.ctimeNs > youngest) youngest = watched.settled.ctimeNs;
  }
  const probe = `${state.asideDir}/clock`;
  writeFileSync(probe, "");
  const give = new Int32Array(new SharedArrayBuffer(4));
  for (let at = 0; lstatSync(probe, { bigint: true }).ctimeNs <= youngest; at += 1) {
    Atomics.wait(give, 0, 0, 1);
    utimesSync(probe, at, at);
  }
}

function giveBack(state: State): readonly RestoredFile[] {
  const left = new Map([...state.watched].map(([ino, { fd }]) => [ino, fstatSync(fd, { bigint: true })]));
  const restored: RestoredFile[] = [];
  for (const { parentFd, name, aside, before } of state.loans.toReversed()) {
    before?.();
    const path = placeOf(parentFd, name);
    moveAside(state, path);
    if (aside !== undefined && putBack(aside, path))
      restored.push(nowOf(lstatSync(fsPath(path), { bigint: true })));
  }
  for (const stub of state.stubs.toReversed()) {
    const { settled } = state.watched.get(stub.ino) ?? {};
    if (settled !== undefined && settled.ctimeNs === left.get(stub.ino)?.ctimeNs) removeStub(stub);
  }
  for (const [ino, watched] of state.watched) {
    const found = restoreTime(watched, left.get(ino));
    if (found) restored.push(found);
  }
  for (const { parentFd } of [...state.loans, ...state.stubs]) close(parentFd);
  for (const { fd } of state.watched.values()) close(fd);
  close(state.rootFd);
  removeTreeSync(state.asideDir);
  return restored;
}

/** False when the directory that it was in is gone: then the process removed it, with all that was in it. */
function putBack(aside: string, path: string): boolean {
  try {
    renameSync(aside, fsPath(path));
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

function removeStub({ parentFd, name, ino }: Stub): void {
  const path = placeOf(parentFd, name);
  if (lstatSync(fsPath(path), { bigint: true, throwIfNoEntry: false })?.ino !== ino) return;
  try {
    rmdirSync(fsPath(path));
  } catch (error) {
    if (errnoOf(error) !== "ENOTEMPTY") throw error;
  }
}

/** Undefined when the process changed the directory, so that it belongs into the layer. */
function restoreTime(
  { fd, mtimeNs, settled }: Watched,
  left: BigIntStats | undefined,
): RestoredFile | undefined {
  if (!settled || !left) return undefined;
  const wanted = left.mtimeNs === settled.mtimeNs ? mtimeNs : left.mtimeNs;
  // A removed directory has no path any more; its time is nobody's business.
  if (fstatSync(fd).nlink === 0) return undefined;
  treeSyscalls().setTime(`/proc/self/fd/${fd}/.`, wanted);
  return left.ctimeNs === settled.ctimeNs ? nowOf(fstatSync(fd, { bigint: true })) : undefined;
}

function nowOf({ ino, ctimeNs }: BigIntStats): RestoredFile {
  return { inode: String(ino), changed: String(ctimeNs) };
}
