// The cases under fixtures/differential: a Containerfile each, and in case.json what else it takes.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeContext } from "./context.js";
import type { ContextEntry } from "./context.js";
import { differences } from "./differences.js";
import type { Seen } from "./differences.js";
import { readImage } from "./layout.js";
import type { LayerCache, ReadOptions } from "./layout.js";
import type { Builder, BuildRequest } from "./types.js";

/** A difference that is meant: the row of docs/differences.md that gives the reason, and the lines that it shows as. */
export interface ExpectedDifference {
  readonly row: string;
  readonly lines: readonly string[];
}

/** case.json. */
export interface CaseFile {
  /** Added to the common context (fixtures/differential/context.json), or replacing parts of it. */
  readonly context?: readonly ContextEntry[];
  /** Built first, in order, and named: what the Containerfile is FROM. */
  readonly before?: readonly { readonly file: string; readonly tag: string }[];
  readonly target?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Named contexts: name → directory of the context. */
  readonly contexts?: Readonly<Record<string, string>>;
  /** Peers that make now this and now that of the case, and are not asked: peer → row of docs/differences.md. */
  readonly unstable?: Readonly<Record<string, string>>;
  readonly differs?: Readonly<Record<string, readonly ExpectedDifference[]>>;
}

export interface Case extends CaseFile {
  readonly name: string;
  readonly dir: string;
}

/** All cases, by name. */
export function readCases(fixtures: string): readonly Case[] {
  return readdirSync(fixtures, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => readCase(fixtures, name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Throws where there is no such case. */
export function readCase(fixtures: string, name: string): Case {
  const dir = join(fixtures, name);
  if (!existsSync(join(dir, "Containerfile"))) throw new Error(`${dir} has no Containerfile`);
  const path = join(dir, "case.json");
  const file = existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as CaseFile) : {};
  return { ...file, name, dir };
}

/** The lines that are expected of a peer for a case, sorted. */
export function expectedLines({ differs }: Case, peer: string): readonly string[] {
  return (differs?.[peer] ?? []).flatMap(({ lines }) => lines).toSorted();
}

/** Where a run keeps what it makes. */
export interface Bench {
  readonly fixtures: string;
  /** Contexts and images. The run that made it removes it. */
  readonly dir: string;
  /** The base as an OCI layout. */
  readonly base: string;
  readonly cache: LayerCache;
}

/** Puts a case's files into the bench's directory, where every builder finds them. */
export function layOut({ fixtures, dir }: Bench, one: Case): string {
  const home = join(dir, "cases", one.name);
  cpSync(one.dir, home, { recursive: true });
  mkdirSync(join(home, "context"), { recursive: true });
  const common = JSON.parse(readFileSync(join(fixtures, "context.json"), "utf8")) as readonly ContextEntry[];
  makeContext(join(home, "context"), [...common, ...(one.context ?? [])]);
  return home;
}

/** Builds a case that lies at `home` and reads what came out. */
export async function buildCase(bench: Bench, one: Case, home: string, builder: Builder): Promise<Seen> {
  const request = (file: string, extra: Partial<BuildRequest>): BuildRequest => ({
    file: join(home, file),
    contextDir: join(home, "context"),
    dest: join(home, `${builder.name}-${file}`),
    ...extra,
  });
  for (const { file, tag } of one.before ?? []) {
    const outcome = await builder.build(request(file, { tag }));
    if (outcome.kind !== "built") return outcome;
  }
  const { target, buildArgs, contexts = {} } = one;
  const final = request("Containerfile", {
    ...(target === undefined ? {} : { target }),
    ...(buildArgs === undefined ? {} : { buildArgs }),
    contexts: Object.fromEntries(
      Object.entries(contexts).map(([name, path]) => [name, join(home, "context", path)]),
    ),
  });
  return buildAndRead(builder, final, { base: bench.base, cache: bench.cache });
}

/** Builds, and reads what came out. */
export async function buildAndRead(
  builder: Builder,
  request: BuildRequest,
  options: ReadOptions,
): Promise<Seen> {
  const outcome = await builder.build(request);
  if (outcome.kind !== "built") return outcome;
  try {
    const facts = await readImage(outcome.layout, options);
    return { kind: "built", facts: { ...facts, config: builder.withoutOwn(facts.config) } };
  } catch (error) {
    return { kind: "broken", message: error instanceof Error ? error.message : String(error) };
  } finally {
    rmSync(outcome.layout, { recursive: true, force: true });
  }
}

/** What differs between two builds of a case, sorted. */
export function caseDifferences(ours: Seen, theirs: Seen): readonly string[] {
  return differences(ours, theirs).toSorted();
}
