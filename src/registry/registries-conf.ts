import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "smol-toml";
import { CooperError, errnoOf, ioError } from "../errors.js";

/** Where a part of the names really lives. Source: containers-registries.conf(5), `[[registry.mirror]]`. */
export interface Mirror {
  /** `host[:port][/path]`. */
  readonly location: string;
  readonly insecure: boolean;
  readonly pull: "all" | "digest-only" | "tag-only";
}

/** Source: containers-registries.conf(5), `[[registry]]`. */
export interface RegistryRule {
  /** `host[:port][/path]`, or `*.domain`. */
  readonly prefix: string;
  /** Replaces the prefix when pulling; missing: names stay as they are. */
  readonly location?: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly Mirror[];
}

/** All registries.conf files together. */
export interface RegistriesConf {
  /** Missing when no file says; an empty list when one says so. */
  readonly searchRegistries?: readonly string[];
  readonly rules: readonly RegistryRule[];
  /** Short name to full name without tag. */
  readonly aliases: ReadonlyMap<string, string>;
}

/** Where to look; `etc` is `/etc`. */
export interface ConfPlaces {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly etc: string;
}

type Table = Readonly<Record<string, unknown>>;
const V1_TABLES = ["registries.search", "registries.insecure", "registries.block"];

/**
 * Reads registries.conf (the user's, else the system's) and the drop-in directories, later files over earlier ones.
 * Source: containers-registries.conf(5) and .d(5). Throws `usage` naming the file for what cannot be understood.
 */
export function readRegistriesConf(places: ConfPlaces): RegistriesConf {
  const rules = new Map<string, RegistryRule>();
  const aliases = new Map<string, string>();
  let searchRegistries: readonly string[] | undefined;
  for (const file of confFiles(places)) {
    const table = parseFile(file);
    if (table === undefined) continue;
    const search = optional(file, table, "unqualified-search-registries", isStringList, "a list of strings");
    searchRegistries = search ?? searchRegistries;
    for (const rule of readRules(file, table)) rules.set(rule.prefix, rule);
    for (const [short, full] of readAliases(file, table)) {
      if (full === "") aliases.delete(short);
      else aliases.set(short, full);
    }
  }
  return { rules: [...rules.values()], aliases, ...(searchRegistries ? { searchRegistries } : {}) };
}

function confFiles({ env, home, etc }: ConfPlaces): readonly string[] {
  const configHome = env["XDG_CONFIG_HOME"] || join(home, ".config");
  const userFile = join(configHome, "containers/registries.conf");
  const userDropIns = join(configHome, "containers/registries.conf.d");
  const systemDropIns = join(etc, "containers/registries.conf.d");
  const named = env["CONTAINERS_REGISTRIES_CONF"];
  const hasUserFile = !named && readText(userFile) !== undefined;
  if (named && readText(named) === undefined) {
    throw new CooperError("not-found", `CONTAINERS_REGISTRIES_CONF names ${named}, which does not exist`);
  }
  const main = named || (hasUserFile ? userFile : join(etc, "containers/registries.conf"));
  const namedDir = env["CONTAINERS_REGISTRIES_CONF_DIR"];
  // A user's own registries.conf replaces the system's, with its drop-ins.
  const dirs = namedDir ? [namedDir] : hasUserFile ? [userDropIns] : [systemDropIns, userDropIns];
  return [main, ...dirs.flatMap(dropIns)];
}

function dropIns(dir: string): readonly string[] {
  try {
    const names = readdirSync(dir).filter((name) => name.endsWith(".conf"));
    return names.toSorted().map((name) => join(dir, name));
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "EACCES") return [];
    throw ioError("read", dir, error);
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw ioError("read", file, error);
  }
}

function parseFile(file: string): Table | undefined {
  const text = readText(file);
  if (text === undefined || !/^\s*[^#\s]/m.test(text)) return undefined;
  let table: Table;
  try {
    table = parse(text);
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    throw new CooperError("usage", `${file}: ${reason}`);
  }
  const old = V1_TABLES.find(
    (name) => isTable(table["registries"]) && name.slice("registries.".length) in table["registries"],
  );
  if (old !== undefined) {
    throw new CooperError("usage", `${file}: [${old}] is version 1 of the format, which is not supported`, {
      hint: "write it as version 2: unqualified-search-registries = [...] and [[registry]] tables",
    });
  }
  return table;
}

function readRules(file: string, table: Table): readonly RegistryRule[] {
  const registries = optional(file, table, "registry", isTableList, "an array of tables") ?? [];
  return registries.map((entry) => {
    const location =
      optional(file, entry, "location", isString, "a string")?.replace(/\/+$/, "") || undefined;
    const prefix = optional(file, entry, "prefix", isString, "a string")?.replace(/\/+$/, "") || location;
    if (prefix === undefined)
      throw new CooperError("usage", `${file}: a [[registry]] has neither prefix nor location`);
    if (
      /^[a-z]+:\/\//i.test(`${location ?? ""} ${prefix}`.trim()) ||
      (prefix.includes("*") && !/^\*\.[^*/]+$/.test(prefix))
    ) {
      throw new CooperError(
        "usage",
        `${file}: [[registry]] ${prefix}: a prefix is host[:port][/path] or *.domain`,
      );
    }
    if (location === undefined && !prefix.startsWith("*.")) {
      throw new CooperError("usage", `${file}: [[registry]] ${prefix} has no location`);
    }
    const onlyDigests = optional(file, entry, "mirror-by-digest-only", isBoolean, "true or false") ?? false;
    const mirrors = optional(file, entry, "mirror", isTableList, "an array of tables") ?? [];
    return {
      prefix,
      ...(location === undefined || location === prefix ? {} : { location }),
      insecure: optional(file, entry, "insecure", isBoolean, "true or false") ?? false,
      blocked: optional(file, entry, "blocked", isBoolean, "true or false") ?? false,
      mirrors: mirrors.map((mirror) => readMirror(file, mirror, onlyDigests)),
    };
  });
}

function readMirror(file: string, table: Table, onlyDigests: boolean): Mirror {
  const location = optional(file, table, "location", isString, "a string")?.replace(/\/+$/, "");
  if (!location) throw new CooperError("usage", `${file}: a [[registry.mirror]] has no location`);
  const pull =
    optional(file, table, "pull-from-mirror", isString, "a string") || (onlyDigests ? "digest-only" : "all");
  if (pull !== "all" && pull !== "digest-only" && pull !== "tag-only") {
    throw new CooperError(
      "usage",
      `${file}: pull-from-mirror = "${pull}" is none of all, digest-only, tag-only`,
    );
  }
  return { location, pull, insecure: optional(file, table, "insecure", isBoolean, "true or false") ?? false };
}

function readAliases(file: string, table: Table): readonly (readonly [string, string])[] {
  const entries = Object.entries(optional(file, table, "aliases", isTable, "a table") ?? {});
  return entries.map(([short, full]) => {
    if (!isString(full)) throw new CooperError("usage", `${file}: alias ${short} is not a string`);
    return [short, full] as const;
  });
}

function optional<T>(
  file: string,
  table: Table,
  key: string,
  fits: (value: unknown) => value is T,
  shape: string,
): T | undefined {
  const value = table[key];
  if (value === undefined) return undefined;
  if (!fits(value)) throw new CooperError("usage", `${file}: ${key} is not ${shape}`);
  return value;
}

const isString = (value: unknown): value is string => typeof value === "string";
const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
const isTable = (value: unknown): value is Table =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isStringList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every(isString);
const isTableList = (value: unknown): value is readonly Table[] =>
  Array.isArray(value) && value.every(isTable);
