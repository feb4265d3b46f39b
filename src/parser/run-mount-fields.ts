import { CooperError } from "../errors.js";
import { quoted } from "./diagnostics.js";
import { nearest } from "./suggest.js";

/** The words of a `--mount` by their key. One that is not known yet (a variable) is there and has no value. */
export interface MountFields {
  /** Missing while it is not known. */
  readonly type: MountType | undefined;
  /** False when some value is not known yet. */
  readonly complete: boolean;
  /** Whether a key was given, be its value known or not. */
  has(key: string): boolean;
  /** The value of a key; undefined when there is none, or an empty one, or it is not known. */
  text(key: string): string | undefined;
  /** As `text`, before any variable is replaced. */
  raw(key: string): string | undefined;
  boolean(key: string): boolean | undefined;
  /** Octal permission bits. */
  mode(key: string): number | undefined;
  /** A user or group id. */
  id(key: string): number | undefined;
  /** Bytes. */
  size(key: string): number | undefined;
  /** Which of two keys was written later. */
  later(one: string, other: string): string | undefined;
}

export type MountType = (typeof TYPES)[number];

const TYPES = ["bind", "cache", "tmpfs", "secret", "ssh"] as const;

/** Other spellings of a key. Source: BuildKit, "RUN --mount"; the last two are buildah's. */
const ALIASES: Readonly<Record<string, string>> = {
  dst: "target",
  destination: "target",
  src: "source",
  ro: "readonly",
  rw: "readwrite",
  "tmpfs-size": "size",
  "tmpfs-mode": "mode",
};

/** What each type knows beside `type`, `target`, `readonly` and `readwrite`. */
const KEYS: Readonly<Record<MountType, readonly string[]>> = {
  bind: ["source", "from"],
  cache: ["source", "from", "sharing", "mode", "uid", "gid"],
  tmpfs: ["size", "mode"],
  secret: ["source", "required", "mode", "uid", "gid"],
  ssh: ["required", "mode", "uid", "gid"],
};

/** Keys that any type may have. Where `id` and `env` say nothing, BuildKit lets them stand. */
const COMMON_KEYS = ["type", "target", "readonly", "readwrite", "id", "env"];

/** buildah's, mostly for SELinux and for mounts that outlive a step: they change nothing here but the first three. */
const BUILDAH_KEYS = [
  "nosuid",
  "nodev",
  "noexec",
  "z",
  "relabel",
  "u",
  "bind-propagation",
  "bind-nonrecursive",
  "consistency",
  "no-dereference",
  "tmpcopyup",
];

/** May stand without `=`. */
const SWITCHES = ["readonly", "readwrite", "required", ...BUILDAH_KEYS];

/** Mean something only for some types, so BuildKit wants the type to be told before them. */
const AFTER_TYPE = ["size", "required"];

const KNOWN = [
  ...new Set([...COMMON_KEYS, ...Object.values(KEYS).flat(), ...Object.keys(ALIASES), ...BUILDAH_KEYS]),
];

interface Field {
  /** In lower case, one spelling for all of its aliases. */
  readonly key: string;
  readonly written: string;
  /** Missing without `=`. */
  readonly raw?: string;
  /** Missing also while it is not known. */
  readonly value?: string;
  readonly unknown: boolean;
}

/** Reads the comma-separated words of a `--mount` and judges their keys. Throws CooperError `syntax` without a place. */
export function readMountFields(value: string, expand: (text: string) => string | undefined): MountFields {
  const fields = splitFields(value).map((text) => readField(text, expand));
  const named = fields.findLast(({ key }) => key === "type");
  const type = named?.unknown === true ? undefined : typeOf(named?.value);
  for (const [at, field] of fields.entries()) judge(field, type, named && fields.indexOf(named) > at);
  return new FieldValues(type, fields);
}

/** Fields of one line of comma-separated values, where quotes protect commas. Source: RFC 4180. */
function splitFields(text: string): readonly string[] {
  if (text === "") throw mountProblem("is empty", "write --mount=type=cache,target=/path");
  const fields: string[] = [];
  const field = /"((?:[^"]|"")*)"(?=,|$)|([^",]*)(?=,|$)/y;
  for (;;) {
    const found = field.exec(text);
    if (!found)
      throw mountProblem(
        `has a quote in the wrong place: ${quoted(text)}`,
        'quote whole fields: "target=/a,b"',
      );
    fields.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? "");
    if (field.lastIndex >= text.length) return fields;
    field.lastIndex++;
  }
}

function readField(text: string, expand: (text: string) => string | undefined): Field {
  const equals = text.indexOf("=");
  const written = equals < 0 ? text : text.slice(0, equals);
  const lower = written.toLowerCase();
  const key = ALIASES[lower] ?? lower;
  if (!KNOWN.includes(key)) throw unknownKey(written);
  if (equals < 0) {
    if (SWITCHES.includes(key)) return { key, written, unknown: false };
    throw mountProblem(`has ${written} without a value`, `write ${written}=…`);
  }
  const raw = text.slice(equals + 1);
  const value = expand(raw);
  return value === undefined
    ? { key, written, raw, unknown: true }
    : { key, written, raw, value, unknown: false };
}

function unknownKey(written: string): CooperError {
  if (written === "") return mountProblem("has an empty field", "remove the comma that is too many");
  if (written.includes("$")) {
    return mountProblem(
      `has ${quoted(written)} where key=value is expected`,
      "variables may stand only in values",
    );
  }
  const meant = nearest(written.trim(), KNOWN);
  return mountProblem(
    `has no key ${quoted(written)}`,
    meant === undefined ? undefined : `did you mean ${meant}?`,
  );
}

function typeOf(text: string | undefined): MountType {
  if (text === undefined) return "bind";
  const type = TYPES.find((one) => one === text.toLowerCase());
  if (type) return type;
  const meant = nearest(text, TYPES);
  const hint = meant === undefined ? `the types are ${TYPES.join(", ")}` : `did you mean ${meant}?`;
  throw mountProblem(`has no type ${quoted(text)}`, hint);
}

function judge({ key, written }: Field, type: MountType | undefined, beforeType: boolean | undefined): void {
  if (type === undefined || COMMON_KEYS.includes(key) || BUILDAH_KEYS.includes(key)) return;
  const buildahMode = written.toLowerCase() === "tmpfs-mode";
  if (!KEYS[type].includes(key) || (type === "tmpfs" && key === "mode" && !buildahMode)) {
    const owners = TYPES.filter((one) => KEYS[one].includes(key) && (one !== "tmpfs" || key === "size"));
    throw mountProblem(
      `of type ${type} has no ${written}`,
      type === "tmpfs" && key === "mode"
        ? "write tmpfs-mode="
        : `${written} is for the types ${owners.join(", ")}`,
    );
  }
  if (beforeType === true && AFTER_TYPE.includes(key)) {
    throw mountProblem(`has ${written} before type=${type}`, `write type=${type} first`);
  }
}

/** `--mount` and what is wrong with it; the place is the caller's. */
export function mountProblem(what: string, hint?: string): CooperError {
  return new CooperError("syntax", `--mount ${what}`, hint === undefined ? {} : { hint });
}

class FieldValues implements MountFields {
  readonly type: MountType | undefined;
  readonly complete: boolean;
  /** The last of those with the same key, in the order written. */
  readonly #fields: ReadonlyMap<string, Field>;

  constructor(type: MountType | undefined, fields: readonly Field[]) {
    this.type = type;
    this.complete = fields.every((field) => !field.unknown);
    const last = new Map<string, Field>();
    for (const field of fields) {
      last.delete(field.key);
      last.set(field.key, field);
    }
    this.#fields = last;
  }

  has(key: string): boolean {
    return this.#fields.get(key)?.unknown === true || this.text(key) !== undefined;
  }

  text(key: string): string | undefined {
    const value = this.#fields.get(key)?.value;
    return value === "" ? undefined : value;
  }

  raw(key: string): string | undefined {
    return this.#fields.get(key)?.raw || undefined;
  }

  boolean(key: string): boolean | undefined {
    const field = this.#fields.get(key);
    if (!field || field.unknown) return undefined;
    if (field.value === undefined || /^(?:1|t|true)$/i.test(field.value)) return true;
    if (/^(?:0|f|false)$/i.test(field.value)) return false;
    throw wrongValue(field, "true or false");
  }

  mode(key: string): number | undefined {
    return this.#number(key, /^[0-7]{1,11}$/, (text) => Number.parseInt(text, 8), "octal, such as 0755");
  }

  id(key: string): number | undefined {
    return this.#number(key, /^\d{1,10}$/, Number, "a number; names are not known here");
  }

  size(key: string): number | undefined {
    return this.#number(key, SIZE, bytesOf, "a size such as 64m or 1g");
  }

  later(one: string, other: string): string | undefined {
    return [...this.#fields.keys()].findLast((key) => key === one || key === other);
  }

  #number(key: string, form: RegExp, read: (text: string) => number, wanted: string): number | undefined {
    const field = this.#fields.get(key);
    if (!field || field.unknown) return undefined;
    const value = field.value ?? "";
    if (form.test(value)) return read(value);
    throw wrongValue(field, wanted);
  }
}

function wrongValue({ written, value }: Field, wanted: string): CooperError {
  return mountProblem(`has ${written}=${quoted(value ?? "")}, it must be ${wanted}`);
}

/** `64`, `64m`, `64MiB`, `1.5g`; every unit counts in 1024s. Source: the sizes of docker's command line. */
const SIZE = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])i?)?b?$/i;

function bytesOf(text: string): number {
  const [, number = "0", unit = ""] = SIZE.exec(text) ?? [];
  return Math.floor(Number(number) * 1024 ** " kmgtp".indexOf(unit.toLowerCase() || " "));
}
