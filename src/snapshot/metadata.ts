import { lstatSync, readdirSync } from "node:fs";
import type { Stats } from "node:fs";
import { CooperError, ioError } from "../errors.js";
import { fsPath, joinPath, ROOT } from "../fs/index.js";
import type { BytePath } from "../fs/index.js";
import { deepPaths } from "./deep-paths.js";
import { shown } from "./layer-names.js";

/** Numbers of one file, at these places of its row. Times are in ms: as doubles they are exact to a quarter of a microsecond. */
const INO = 0;
const CTIME = 1;
const REST = 2;
const ROW = 10;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/** What lstat(2) says of a whole tree, about 110 bytes a file: depth first, siblings sorted bytewise, the root first. */
export interface Metadata {
  readonly count: number;
  readonly names: readonly string[];
  /** For each file the place behind all that is below it. */
  readonly ends: Int32Array;
  readonly rows: Float64Array;
  /** The latest change time, ms. */
  readonly youngest: number;
}

/** A path that is not what it was: there, or there no more. */
export interface Difference {
  readonly path: BytePath;
  readonly kind: "new" | "changed" | "gone";
}

/** Change times (ms) by inode number, of files that are unchanged in spite of them. */
export type RestoredTimes = ReadonlyMap<number, number>;

const NOTHING: RestoredTimes = new Map();

/**
 * Reads the metadata of a tree and what differs from `before`, in the order of a layer's tar. No file is opened; about
 * 10 us a file. Without `before` there are no differences. Throws `io`.
 */
export function readMetadata(
  root: string,
  before?: Metadata,
  restored: RestoredTimes = NOTHING,
): { readonly now: Metadata; readonly differences: readonly Difference[] } {
  using paths = deepPaths(root);
  const table = newTable(before?.count ?? 1024);
  const differences: Difference[] = [];
  const levels: Level[] = [];
  const visit = (path: BytePath, name: string, old: number): void => {
    const stats = statOf(paths.of(path), path);
    const index = table.add(name, stats);
    if (before && old < 0) differences.push({ path, kind: "new" });
    else if (before && !isSame(table, index, before, old, restored))
      differences.push({ path, kind: "changed" });
    if (!stats.isDirectory()) return;
    const wasDirectory = before !== undefined && old >= 0 && isDirectory(before, old);
    levels.push({
      path,
      index,
      names: namesIn(paths.of(path), path),
      at: 0,
      old: wasDirectory ? old + 1 : 0,
      oldEnd: wasDirectory ? (before.ends[old] ?? 0) : 0,
    });
  };
  visit(ROOT, "", before ? 0 : -1);
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    const name = level.names[level.at];
    level.at += 1;
    // Those that sort before this name, or all that are left, are there no more.
    while (before && level.old < level.oldEnd && (name === undefined || nameOf(before, level.old) < name)) {
      differences.push({ path: joinPath(level.path, nameOf(before, level.old)), kind: "gone" });
      level.old = before.ends[level.old] ?? level.oldEnd;
    }
    if (name === undefined) {
      table.close(level.index);
      levels.pop();
      continue;
    }
    const known = before !== undefined && level.old < level.oldEnd && nameOf(before, level.old) === name;
    const old = known ? level.old : -1;
    if (known) level.old = before.ends[level.old] ?? level.oldEnd;
    visit(joinPath(level.path, name), name, old);
  }
  return { now: table.result(), differences };
}

/** The same, after the time of the root directory was set. */
export function withRootAgain(metadata: Metadata, root: string): Metadata {
  const stats = statOf(root, ROOT);
  metadata.rows.set(rowOf(stats), 0);
  return { ...metadata, youngest: Math.max(metadata.youngest, stats.ctimeMs) };
}

function rowOf({ ino, ctimeMs, mtimeMs, size, mode, uid, gid, dev, rdev, nlink }: Stats): readonly number[] {
  return [ino, ctimeMs, mtimeMs, size, mode, uid, gid, dev, rdev, nlink];
}

/** A directory that is being read. */
interface Level {
  readonly path: BytePath;
  readonly index: number;
  readonly names: readonly string[];
  at: number;
  /** The next child of the same directory as it was before, and the end of its children. */
  old: number;
  readonly oldEnd: number;
}

interface Table {
  readonly rows: Float64Array;
  add(name: string, stats: Stats): number;
  close(index: number): void;
  result(): Metadata;
}

function newTable(expected: number): Table {
  let room = expected + (expected >> 3) + 16;
  let rows = new Float64Array(room * ROW);
  let ends = new Int32Array(room);
  const names: string[] = [];
  let youngest = 0;
  return {
    get rows() {
      return rows;
    },
    add(name, stats) {
      const index = names.length;
      if (index === room) {
        room *= 2;
        const [oldRows, oldEnds] = [rows, ends];
        rows = new Float64Array(room * ROW);
        rows.set(oldRows);
        ends = new Int32Array(room);
        ends.set(oldEnds);
      }
      names.push(name);
      ends[index] = index + 1;
      rows.set(rowOf(stats), index * ROW);
      if (stats.ctimeMs > youngest) youngest = stats.ctimeMs;
      return index;
    },
    close: (index) => (ends[index] = names.length),
    result: () => ({ count: names.length, names, ends, rows, youngest }),
  };
}

function nameOf(metadata: Metadata, index: number): string {
  return metadata.names[index] ?? "";
}

function isDirectory(metadata: Metadata, index: number): boolean {
  return ((metadata.rows[index * ROW + 4] ?? 0) & S_IFMT) === S_IFDIR;
}

function isSame(
  table: Table,
  index: number,
  before: Metadata,
  old: number,
  restored: RestoredTimes,
): boolean {
  const [now, then] = [index * ROW, old * ROW];
  const { rows } = table;
  if (rows[now + INO] !== before.rows[then + INO]) return false;
  for (let at = REST; at < ROW; at += 1) if (rows[now + at] !== before.rows[then + at]) return false;
  return (
    rows[now + CTIME] === before.rows[then + CTIME] ||
    rows[now + CTIME] === restored.get(rows[now + INO] ?? 0)
  );
}

function statOf(fsName: string, path: BytePath): Stats {
  try {
    const stats = lstatSync(fsPath(fsName), { throwIfNoEntry: false });
    if (stats) return stats;
  } catch (error) {
    throw ioError("read", shown(path), error);
  }
  throw new CooperError("io", `${shown(path)} disappeared while its directory was read`);
}

function namesIn(fsName: string, path: BytePath): readonly string[] {
  try {
    return readdirSync(fsPath(fsName), "latin1").toSorted();
  } catch (error) {
    throw ioError("read", shown(path), error);
  }
}
