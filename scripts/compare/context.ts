// Makes a build context from a list: what git cannot keep (owners, modes, devices, fifos, hard links, odd names, attributes).
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** One thing of a context. Modes are octal text; a parent that is not listed is made 0755. */
export interface ContextEntry {
  readonly path: string;
  readonly type?: "file" | "dir" | "symlink" | "hardlink" | "fifo" | "device" | "archive" | "absent";
  readonly mode?: string;
  /** `uid:gid`. */
  readonly owner?: string;
  readonly content?: string;
  /** Of a link. */
  readonly target?: string;
  /** Bytes of a file that is one hole. */
  readonly size?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** What an archive holds (`.` for its root), and how it is compressed. */
  readonly entries?: readonly ContextEntry[];
  readonly compression?: "none" | "gzip" | "bzip2" | "xz" | "zstd";
  /** Written after what an archive holds. */
  readonly tail?: string;
  /** Bytes of an archive after which it is cut off. */
  readonly cut?: number;
}

/** Makes the entries below `dir`, each over what is there. Needs root where owners or devices are named. */
export function makeContext(dir: string, entries: readonly ContextEntry[]): void {
  for (const entry of entries) {
    const path = join(dir, entry.path);
    if (entry.path !== ".") {
      rmSync(path, { recursive: true, force: true });
      mkdirSync(dirname(path), { recursive: true });
      make(path, entry, dir);
    }
    if (entry.type === "absent") continue;
    setAttributes(path, entry);
  }
}

function make(path: string, entry: ContextEntry, dir: string): void {
  switch (entry.type ?? "file") {
    case "file":
      writeFileSync(path, entry.content ?? "");
      if (entry.size !== undefined) truncateSync(path, entry.size);
      return;
    case "dir":
      mkdirSync(path);
      return;
    case "symlink":
      symlinkSync(entry.target ?? "", path);
      return;
    case "hardlink":
      linkSync(join(dir, entry.target ?? ""), path);
      return;
    case "fifo":
      execFileSync("mkfifo", [path]);
      return;
    case "device":
      execFileSync("mknod", [path, "c", "1", "3"]);
      return;
    case "archive":
      makeArchive(path, entry);
      return;
    case "absent":
      return;
  }
}

function setAttributes(path: string, { type, owner, mode, xattrs = {} }: ContextEntry): void {
  if (type === "hardlink") return;
  const [uid = 0, gid = 0] = (owner ?? "0:0").split(":").map(Number);
  lchownSync(path, uid, gid);
  if (type === "symlink") return;
  chmodSync(path, Number.parseInt(mode ?? (type === "dir" ? "755" : "644"), 8));
  for (const [name, value] of Object.entries(xattrs))
    execFileSync("setfattr", ["-n", name, "-v", value, path]);
}

const COMPRESSION = { none: undefined, gzip: "--gzip", bzip2: "--bzip2", xz: "--xz", zstd: "--zstd" };

function makeArchive(path: string, { entries = [], compression = "none", tail, cut }: ContextEntry): void {
  const dir = mkdtempSync(join(tmpdir(), "cooper-archive-"));
  try {
    makeContext(dir, entries);
    const flag = COMPRESSION[compression];
    const facts = [
      "--format=pax",
      "--pax-option=delete=atime,delete=ctime",
      "--mtime=@1000000000",
      "--numeric-owner",
      "--xattrs",
    ];
    const what = [...(flag === undefined ? [] : [flag]), `--directory=${dir}`, "--sort=name"];
    const names = entries.some((entry) => entry.path === ".") ? ["."] : readdirSync(dir);
    const none = names.length === 0 ? ["--files-from=/dev/null"] : [];
    execFileSync("tar", ["--create", `--file=${path}`, ...facts, ...what, ...none, "--", ...names]);
    if (tail !== undefined) appendFileSync(path, tail);
    if (cut !== undefined) truncateSync(path, cut);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
