import { readSync } from "node:fs";
import { CooperError } from "../errors.js";
import type { BytePath, FileTree } from "../fs/index.js";
import { resolvePath } from "../fs/index.js";

/** Numeric ids of a user, as a process in the image has them. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
  /** All groups, the primary one first. */
  readonly groups: readonly number[];
  /** From /etc/passwd; "/" when the user is not in it. */
  readonly home: string;
}

/** 2^32-1 means "unchanged" to chown, so it is no id. */
const MAX_ID = 4_294_967_294;
/** A passwd or group file beyond this is hostile. */
const MAX_FILE = 10 * 1024 * 1024;

interface PasswdLine {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}
interface GroupLine {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * Resolves `user`, `uid`, `user:group`, `uid:gid` against /etc/passwd and /etc/group of a root file system. A number
 * is always the number. Without a group: the user's own from passwd, else group 0 for a process.
 * Throws `not-found` for an unknown name, `usage` for an id out of range.
 */
export function resolveUser(tree: FileTree, text: string): UserIds {
  const [userText = "", groupText] = splitUser(text);
  const passwd = readPasswd(tree);
  const groups = readGroups(tree);
  const number = idOf(userText, text);
  const entry =
    number === undefined ? passwd.find((p) => p.name === userText) : passwd.find((p) => p.uid === number);
  if (number === undefined && !entry && userText !== "" && userText !== "root") {
    throw new CooperError("not-found", `user "${userText}" is not in the image's /etc/passwd`);
  }
  const uid = number ?? entry?.uid ?? 0;
  const gid =
    groupText === undefined || groupText === "" ? (entry?.gid ?? 0) : groupId(groups, groupText, text);
  const name = entry?.name ?? userText;
  const extra =
    groupText === undefined ? groups.filter((g) => g.members.includes(name)).map((g) => g.gid) : [];
  return {
    uid,
    gid,
    groups: [...new Set([gid, ...extra])],
    home: entry?.home ?? (uid === 0 ? "/root" : "/"),
  };
}

/**
 * Resolves `--chown`: a number is always the number, a user alone has the group that /etc/passwd gives it, or the group of
 * its own number; an empty part (`user:`, `:group`) is 0. Reads the image's files only for names.
 * Throws `not-found` for an unknown name (BuildKit takes 0 for it, in silence), `usage` for an id out of range.
 */
export function resolveOwner(tree: FileTree, text: string): { readonly uid: number; readonly gid: number } {
  const [userText = "", groupText] = splitUser(text);
  const number = userText === "" ? 0 : idOf(userText, text);
  const named = number === undefined ? resolveUser(tree, userText) : undefined;
  const uid = number ?? named?.uid ?? 0;
  if (groupText === undefined) return { uid, gid: named?.gid ?? uid };
  if (groupText === "") return { uid, gid: 0 };
  return { uid, gid: idOf(groupText, text) ?? groupId(readGroups(tree), groupText, text) };
}

/**
 * Who owns a directory that WORKDIR makes: as `resolveOwner`, but an unknown group is the user's own and an unknown user is
 * root, since USER need not name anybody before something runs. Source: BuildKit.
 */
export function ownerFor(tree: FileTree, user: string): { readonly uid: number; readonly gid: number } {
  const known = (text: string): ReturnType<typeof resolveOwner> | undefined => {
    try {
      return resolveOwner(tree, text);
    } catch (error) {
      if (error instanceof CooperError && error.code === "not-found") return undefined;
      throw error;
    }
  };
  const [userText = "", groupText] = splitUser(user);
  const { uid, gid } = known(userText) ?? { uid: 0, gid: 0 };
  return { uid, gid: (groupText === undefined ? undefined : known(`:${groupText}`)?.gid) ?? gid };
}

/** Throws `usage` for ids out of range, without an image. */
export function checkOwner(text: string): void {
  for (const part of splitUser(text)) idOf(part, text);
}

/** Whether an owner is given by numbers alone, so that it is the same in every image. */
export function isNumericOwner(text: string): boolean {
  return splitUser(text).every((part) => part === "" || idOf(part, text) !== undefined);
}

function splitUser(text: string): readonly string[] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)];
}

function idOf(part: string, whole: string): number | undefined {
  if (!/^[-+]?\d/.test(part) || /[^\d+-]/.test(part.slice(1))) return undefined;
  const id = Number(part);
  if (!/^\d+$/.test(part) || id > MAX_ID) {
    throw new CooperError("usage", `invalid user or group id in "${whole}": ids are 0 to ${MAX_ID}`);
  }
  return id;
}

function groupId(groups: readonly GroupLine[], part: string, whole: string): number {
  const id =
    idOf(part, whole) ?? groups.find((g) => g.name === part)?.gid ?? (part === "root" ? 0 : undefined);
  if (id !== undefined) return id;
  throw new CooperError("not-found", `group "${part}" is not in the image's /etc/group`);
}

function readPasswd(tree: FileTree): readonly PasswdLine[] {
  return readLines(tree, "etc/passwd").flatMap((line) => {
    const [name = "", , uid = "", gid = "", , home = ""] = line.split(":");
    if (!isId(uid) || !isId(gid)) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home: home === "" ? "/" : home }];
  });
}

function readGroups(tree: FileTree): readonly GroupLine[] {
  return readLines(tree, "etc/group").flatMap((line) => {
    const [name = "", , gid = "", members = ""] = line.split(":");
    return isId(gid) ? [{ name, gid: Number(gid), members: members.split(",") }] : [];
  });
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID;
}

function readLines(tree: FileTree, path: string): readonly string[] {
  const entry = tree.lstat(resolvePath(tree, path as BytePath, { followLast: true }));
  if (entry?.type !== "file") return [];
  if (entry.size > MAX_FILE)
    throw new CooperError("unsupported", `the image's /${path} is larger than 10 MiB`);
  const file = tree.open(entry);
  try {
    const buffer = Buffer.alloc(entry.size);
    let done = 0;
    while (done < entry.size) {
      const n = readSync(file.fd, buffer, done, entry.size - done, file.offset + done);
      if (n === 0) break;
      done += n;
    }
    return buffer.toString("utf8", 0, done).split("\n");
  } finally {
    file.close();
  }
}
