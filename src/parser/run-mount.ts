import { posix } from "node:path";
import { quoted } from "./diagnostics.js";
import { type MountFields, mountProblem, readMountFields } from "./run-mount-fields.js";

interface CommonMount {
  /** Where the process finds it, as written: relative to WORKDIR when it does not begin with `/`. */
  readonly target: string;
  readonly readOnly: boolean;
  /** Of `nosuid`, `nodev`, `noexec`, those that were asked for (buildah). */
  readonly options: readonly string[];
}

/** Whose it is; what is missing is the type's default. */
interface Owned {
  /** Permission bits. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Something secret, which a build may have or not. */
interface Granted extends Omit<CommonMount, "target">, Owned {
  readonly id: string;
  /** True: a build that was not given it fails. */
  readonly required: boolean;
}

export interface BindMount extends CommonMount {
  readonly type: "bind";
  /** Path in `from`, else in the build context. */
  readonly source: string;
  /** Stage, named context or image. */
  readonly from?: string;
}

export interface CacheMount extends CommonMount, Owned {
  readonly type: "cache";
  /** Caches of one id are the same. Default: the target. */
  readonly id: string;
  readonly sharing: "shared" | "private" | "locked";
  /** Path in `from` of what a new cache holds. */
  readonly source: string;
  readonly from?: string;
}

export interface TmpfsMount extends CommonMount {
  readonly type: "tmpfs";
  /** Bytes; missing: no limit of its own. */
  readonly size?: number;
  readonly mode?: number;
}

export interface SecretMount extends Granted {
  readonly type: "secret";
  /** Missing when the secret is only a variable. */
  readonly target?: string;
  /** Variable that holds the secret. */
  readonly env?: string;
}

export interface SshMount extends Granted {
  readonly type: "ssh";
  /** Missing: a socket of the builder's choice. */
  readonly target?: string;
}

/** What `RUN --mount` says. Source: Dockerfile reference, "RUN --mount"; buildah-build(1) for its own spellings. */
export type RunMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount;

/** The value of a `--mount` flag, variables in its values replaced by `expand`. Throws CooperError `syntax` without a place. */
export function parseRunMount(value: string, expand: (text: string) => string = (text) => text): RunMount {
  const mount = checkRunMount(value, expand);
  if (!mount) throw new Error(`not all is known of ${JSON.stringify(value)}`);
  return mount;
}

/**
 * As `parseRunMount` where not every variable is known: `expand` gives undefined for a value that it cannot tell, that
 * value is not judged, and the result is undefined.
 */
export function checkRunMount(
  value: string,
  expand: (text: string) => string | undefined,
): RunMount | undefined {
  const fields = readMountFields(value, expand);
  const mount = toMount(fields);
  return fields.complete ? mount : undefined;
}

/**
 * What a `--mount` names as its `from`, as it is written; undefined when it names nothing. Variables may stand there as long
 * as they can be told before the build begins. Throws CooperError `syntax` without a place.
 */
export function mountFrom(value: string): string | undefined {
  return readMountFields(value, (text) => (text.includes("$") ? undefined : text)).raw("from");
}

/** Keys of buildah's that ask for something which no field of a `RunMount` says, and what to write instead. */
const OTHER_WISHES: Readonly<Record<string, string>> = {
  u: "give the mount uid= and gid=, or chown what it shows in the RUN",
  tmpcopyup: "copy the files in the RUN",
  "no-dereference": "name the directory that holds the link",
};

/** The first of those that a `--mount` has, when it is known to be on. */
export function mountWish(value: string): { readonly key: string; readonly instead: string } | undefined {
  const fields = readMountFields(value, (text) => (text.includes("$") ? undefined : text));
  const found = Object.entries(OTHER_WISHES).find(([key]) => fields.boolean(key) === true);
  return found && { key: found[0] === "u" ? "U" : found[0], instead: found[1] };
}

/** Whether a `--mount` asks for SELinux labels to be changed (buildah's `z`, `Z` and `relabel`), as far as that is known. */
export function mountRelabels(value: string): boolean {
  const fields = readMountFields(value, (text) => (text.includes("$") ? undefined : text));
  return fields.boolean("z") === true || fields.text("relabel") !== undefined;
}

function toMount(fields: MountFields): RunMount | undefined {
  const { type } = fields;
  checkPropagation(fields);
  checkRelabel(fields);
  const common = {
    readOnly: isReadOnly(fields),
    options: ["nosuid", "nodev", "noexec"].filter((name) => fields.boolean(name) === true),
  };
  switch (type) {
    case "bind":
      return { type, ...common, ...targetOf(fields), ...sourceOf(fields) };
    case "cache":
      return cache(common, fields);
    case "tmpfs": {
      const known = { size: fields.size("size"), mode: fields.mode("mode") };
      return { type, ...common, ...targetOf(fields), ...defined(known) };
    }
    case "secret":
      return secret(common, fields);
    case "ssh":
      return {
        type,
        ...common,
        id: fields.text("id") ?? "default",
        ...granted(fields),
        ...defined({ target: fields.text("target") }),
      };
    case undefined:
      return undefined;
  }
}

/** A mount of a step ends with it, so it can take part in no propagation; but nobody shall slip other options in (hazard C03). */
function checkPropagation(fields: MountFields): void {
  const value = fields.text("bind-propagation");
  if (value === undefined || ["private", "rprivate", "slave", "rslave"].includes(value)) return;
  const hint = "it can be private, rprivate, slave or rslave";
  throw mountProblem(`has bind-propagation=${quoted(value)}`, hint);
}

/** What it is to be does not matter: where labels mean something it is refused. */
function checkRelabel(fields: MountFields): void {
  const value = fields.text("relabel");
  if (value === undefined || value === "shared" || value === "private") return;
  throw mountProblem(`has relabel=${quoted(value)}, it must be shared or private`);
}

function cache(common: Omit<CommonMount, "target">, fields: MountFields): CacheMount {
  const sharing = (fields.text("sharing") ?? "shared").toLowerCase();
  if (sharing !== "shared" && sharing !== "private" && sharing !== "locked") {
    throw mountProblem(`has sharing=${quoted(sharing)}, it must be shared, private or locked`);
  }
  const { target } = targetOf(fields);
  const id = fields.text("id") ?? target;
  return { type: "cache", ...common, target, id, sharing, ...sourceOf(fields), ...ownedBy(fields) };
}

function secret(common: Omit<CommonMount, "target">, fields: MountFields): SecretMount {
  const target = fields.text("target");
  if (target !== undefined) refuseRoot(target);
  const named = ["source", "id", "target"].find((key) => fields.has(key));
  if (named === undefined) throw mountProblem("of type secret needs id=", "write type=secret,id=NAME");
  const id = fields.text("source") ?? fields.text("id") ?? posix.basename(target ?? "");
  const env = fields.text("env");
  const file = target ?? (env === undefined ? secretPlace(id) : undefined);
  return { type: "secret", ...common, id, ...granted(fields), ...defined({ target: file, env }) };
}

/** Of an id that says no more than `..` or `/` there would be nothing left that names a file below it (hazard C02). */
function secretPlace(id: string): string {
  const place = `/run/secrets/${posix.basename(id)}`;
  // Empty is one that is not known yet.
  if (id === "" || posix.dirname(posix.normalize(place)) === "/run/secrets") return place;
  throw mountProblem(
    `has id=${quoted(id)}, which names no file in /run/secrets`,
    "say where it goes: target=/path",
  );
}

/** What a cache or tmpfs holds may change, a bind's source may not unless it says so. The last of ro and rw counts. */
function isReadOnly(fields: MountFields): boolean {
  const key = fields.later("readonly", "readwrite");
  if (key === undefined) return fields.type !== "cache" && fields.type !== "tmpfs";
  return fields.boolean(key) === (key === "readonly");
}

function targetOf(fields: MountFields): { readonly target: string } {
  if (!fields.has("target")) throw mountProblem(`of type ${fields.type ?? ""} needs target=`);
  const target = fields.text("target") ?? "";
  refuseRoot(target);
  return { target };
}

function refuseRoot(target: string): void {
  if (!target.startsWith("/") || posix.resolve(target) !== "/") return;
  throw mountProblem(`has the target ${quoted(target)}, the root itself`, "name a path below it");
}

function sourceOf(fields: MountFields): { readonly source: string; readonly from?: string } {
  return { source: fields.text("source") ?? "/", ...defined({ from: fields.text("from") }) };
}

function granted(fields: MountFields): Owned & { readonly required: boolean } {
  return { required: fields.boolean("required") ?? false, ...ownedBy(fields) };
}

function ownedBy(fields: MountFields): Owned {
  return defined({ mode: fields.mode("mode"), uid: fields.id("uid"), gid: fields.id("gid") });
}

/** The same record without its undefined properties. */
function defined<V>(record: Readonly<Record<string, V | undefined>>): Record<string, V> {
  return Object.fromEntries(
    Object.entries(record).filter((entry): entry is [string, V] => entry[1] !== undefined),
  );
}
