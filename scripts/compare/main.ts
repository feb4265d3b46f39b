// The command line of `npm run compare`.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import type { Cooper, OpenOptions } from "../../src/index.js";
import { openPeers } from "../../test/support/peers.js";
import { programPath } from "../../test/support/programs.js";
import { BASE_NAME, openBench } from "./bench.js";
import { buildahBuilder, buildkitBuilder, cooperBuilder } from "./builders.js";
import {
  buildAndRead,
  buildCase,
  caseDifferences,
  expectedLines,
  layOut,
  readCase,
  readCases,
} from "./cases.js";
import type { Case } from "./cases.js";
import { differences } from "./differences.js";
import type { Seen } from "./differences.js";
import { openDocker } from "./docker.js";
import { readRecord, writeRecord } from "./record.js";
import type { Builder } from "./types.js";

const USAGE = `npm run compare -- [OPTIONS] FILE CONTEXT
npm run compare -- [OPTIONS] --case NAME|all     a case of fixtures/differential
npm run compare -- --record [--case NAME]        write down what BuildKit makes of the cases

Builds with cooper, buildah and BuildKit, and prints what differs: of every path type, mode, owner, content, link target,
hard links, attributes, device number; of the config all that says how the image is run. Needs root.

  --with NAMES        buildah, buildkit, or all (default)
  --build-arg K=V     as for a build; may be repeated
  --target STAGE      as for a build
  --base NAME=PATH    an OCI archive that every tool is to know under that name; may be repeated
  --times             compare modification times as well

Exit status: 0 the same, 1 different, 2 could not be compared.`;

const SAME = 0;
const DIFFERENT = 1;
const NOT_COMPARED = 2;

const options = {
  with: { type: "string", default: "all" },
  "build-arg": { type: "string", multiple: true, default: [] as string[] },
  target: { type: "string" },
  base: { type: "string", multiple: true, default: [] as string[] },
  times: { type: "boolean", default: false },
  case: { type: "string" },
  record: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

type Call = ReturnType<typeof readCall>;
const readCall = (args: readonly string[]) => parseArgs({ args: [...args], options, allowPositionals: true });

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Runs the tool in the checkout at `root`; resolves to its exit status. */
export async function main(args: readonly string[], root: string): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "cooper-compare-"));
  const opened: Builder[] = [];
  let cooper: Cooper | undefined;
  try {
    const call = readCall(args);
    const cases = call.values.case !== undefined || call.values.record;
    if (call.values.help || (!cases && call.positionals.length !== 2)) {
      say(USAGE);
      return call.values.help ? SAME : NOT_COMPARED;
    }
    if (process.geteuid?.() !== 0) throw new Error("the peers need root");
    cooper = await openOwn(root, join(dir, "store"));
    opened.push(cooperBuilder(cooper, versionOf(root)));
    opened.push(...(await openPeerBuilders(call, dir)));
    if (call.values.record) return await recordCases(call, root, cooper, opened);
    return cases ? await compareCases(call, root, cooper, opened) : await compareFile(call, dir, opened);
  } catch (error) {
    process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
    return NOT_COMPARED;
  } finally {
    for (const builder of opened) await builder.close();
    await cooper?.[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function openOwn(root: string, store: string): Promise<Cooper> {
  const library = (await import(pathToFileURL(join(root, "dist/index.js")).href)) as {
    openCooper(options: OpenOptions): Promise<Cooper>;
  };
  return library.openCooper({ root: store });
}

function versionOf(root: string): string {
  return (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
}

/** The peers that were asked for and are there; says of the others why they are not. */
async function openPeerBuilders({ values }: Call, dir: string): Promise<readonly Builder[]> {
  const asked = values.record
    ? ["buildkit"]
    : values.with === "all"
      ? ["buildah", "buildkit"]
      : values.with.split(",");
  const unknown = asked.find((name) => name !== "buildah" && name !== "buildkit");
  if (unknown !== undefined) throw new Error(`--with ${unknown}: there are buildah and buildkit`);
  const found: Builder[] = [];
  for (const name of asked) {
    const builder = await (name === "buildah" ? openBuildah() : openBuildkit(dir));
    if (typeof builder === "string") say(`NOT COMPARED with ${name}: ${builder}`);
    else found.push(builder);
  }
  // Cases have a record of what BuildKit made of them.
  if (found.length === 0 && (values.case === undefined || values.record))
    throw new Error("there is nothing to compare with");
  return found;
}

async function openBuildah(): Promise<Builder | string> {
  if (programPath("buildah") === undefined) return "it is not installed (Debian package buildah)";
  return buildahBuilder(openPeers({ searchRegistries: ["docker.io"] }));
}

async function openBuildkit(dir: string): Promise<Builder | string> {
  const docker = await openDocker({ start: true });
  return typeof docker === "string" ? docker : buildkitBuilder(docker, dir);
}

async function compareFile(call: Call, dir: string, builders: readonly Builder[]): Promise<number> {
  const [file = "", contextDir = ""] = call.positionals.map((path) => resolve(path));
  if (!existsSync(file)) throw new Error(`${file} does not exist`);
  const { target, times } = call.values;
  const seen: Seen[] = [];
  for (const builder of builders) {
    for (const base of call.values.base) await builder.load(...pair(base, "--base"));
    const request = {
      file,
      contextDir,
      buildArgs: Object.fromEntries(call.values["build-arg"].map((text) => pair(text, "--build-arg"))),
      ...(target === undefined ? {} : { target }),
      dest: join(dir, builder.name),
    };
    seen.push(await buildAndRead(builder, request, { times }));
  }
  return report(builders, seen);
}

function pair(text: string, option: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new Error(`${option} ${text}: this takes NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function report([own, ...peers]: readonly Builder[], [ours, ...theirs]: readonly Seen[]): number {
  if (own === undefined || ours === undefined) throw new Error("nothing was built");
  say(`${own.title}: ${ended(ours)}`);
  let status = SAME;
  for (const [at, peer] of peers.entries()) {
    const seen = theirs[at];
    if (seen === undefined) continue;
    const lines = differences(ours, seen);
    say(
      `${peer.title}: ${ended(seen)}; ${lines.length === 0 ? "the same" : `different (${own.name} | ${peer.name}):`}`,
    );
    for (const line of lines) say(`  ${line}`);
    if (lines.length > 0) status = DIFFERENT;
  }
  return status;
}

const ended = (seen: Seen): string => (seen.kind === "built" ? "accepted" : `${seen.kind}: ${seen.message}`);

function chosenCases({ values }: Call, fixtures: string): readonly Case[] {
  return values.case === undefined || values.case === "all"
    ? readCases(fixtures)
    : values.case.split(",").map((name) => readCase(fixtures, name));
}

/** Compares cases; what case.json expects counts as the same. Where no BuildKit can be asked, what one made was recorded. */
async function compareCases(
  call: Call,
  root: string,
  cooper: Cooper,
  [own, ...peers]: readonly Builder[],
): Promise<number> {
  const fixtures = join(root, "fixtures/differential");
  const bench = await openBench(fixtures, cooper);
  let status = SAME;
  try {
    if (own === undefined) throw new Error("nothing to build with");
    for (const builder of [own, ...peers]) await builder.load(BASE_NAME, bench.archive);
    for (const one of chosenCases(call, fixtures)) {
      const home = layOut(bench, one);
      const ours = await buildCase(bench, one, home, own);
      say(`${one.name}: ${own.name} ${ended(ours)}`);
      for (const peer of peers.filter(({ name }) => one.unstable?.[name] === undefined))
        if (!judge(one, ours, peer.name, await buildCase(bench, one, home, peer))) status = DIFFERENT;
      const recorded = peers.some(({ name }) => name === "buildkit") ? undefined : readRecord(one);
      if (recorded !== undefined && !judge(one, ours, "buildkit", recorded)) status = DIFFERENT;
    }
    return status;
  } finally {
    bench.close();
  }
}

/** Says how a peer's result compares; false when that is not what case.json expects. */
function judge(one: Case, ours: Seen, peer: string, theirs: Seen): boolean {
  const lines = caseDifferences(ours, theirs);
  const expected = lines.join("\n") === expectedLines(one, peer).join("\n");
  const verdict = lines.length === 0 ? "same" : "different";
  say(`  ${peer} ${ended(theirs)}; ${verdict}${expected ? "" : ", and not as case.json says"}`);
  for (const line of lines) say(`    ${line}`);
  return expected;
}

/** Writes down what BuildKit makes of the cases. */
async function recordCases(
  call: Call,
  root: string,
  cooper: Cooper,
  builders: readonly Builder[],
): Promise<number> {
  const fixtures = join(root, "fixtures/differential");
  const bench = await openBench(fixtures, cooper);
  try {
    const buildkit = builders.find(({ name }) => name === "buildkit");
    if (buildkit === undefined) throw new Error("there is no BuildKit to record");
    await buildkit.load(BASE_NAME, bench.archive);
    writeFileSync(join(fixtures, "buildkit.json"), `${JSON.stringify({ recordedWith: buildkit.title })}\n`);
    for (const one of chosenCases(call, fixtures)) {
      const home = layOut(bench, one);
      const seen = await buildCase(bench, one, home, buildkit);
      writeRecord(one, seen);
      say(`${one.name}: ${ended(seen)}`);
    }
    return SAME;
  } finally {
    bench.close();
  }
}
