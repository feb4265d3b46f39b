import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type CooperEvent, openCooper } from "../../src/index.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cooper-warnings-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Events of a build of metadata only, which needs no privileges. */
async function build(
  containerfile: string,
  options: { readonly target?: string; readonly buildArgs?: Record<string, string> } = {},
): Promise<readonly CooperEvent[]> {
  const events: CooperEvent[] = [];
  await using cooper = await openCooper({ root });
  await cooper.build({ contextDir: root, containerfile, ...options, onEvent: (event) => events.push(event) });
  return events;
}

const warnings = (events: readonly CooperEvent[]): readonly string[] =>
  events.flatMap((event) => (event.type === "warning" ? [`${event.where}: ${event.message}`] : []));

const TEXT = "FROM scratch\nENV a b\nLABEL x=$y \\\n\n z=1\nMAINTAINER me\n";
const WARNINGS = [
  'Containerfile:2:5: LegacyKeyValueFormat: "ENV name value" is the old form',
  "Containerfile:3:9: UndefinedVar: nothing sets the variable $y",
  "Containerfile:4:1: NoEmptyContinuation: an empty line inside a continued instruction is skipped",
  "Containerfile:6:1: MaintainerDeprecated: MAINTAINER is deprecated",
];

test("findings are warnings before the first step, each once, cached or not", async () => {
  for (const _ of ["built", "cached"]) {
    const events = await build(TEXT);
    expect(warnings(events)).toEqual(WARNINGS);
    const firstStep = events.findIndex(({ type }) => type === "step-start");
    expect(events.slice(firstStep).filter(({ type }) => type === "warning")).toEqual([]);
  }
});

test("a stage that is not built is not told about, as far as its work is concerned", async () => {
  const text = "FROM scratch as a\nENV a b\nFROM scratch AS b\nLABEL a=1\n";
  expect(warnings(await build(text, { target: "b" }))).toEqual([
    'Containerfile:1:14: FromAsCasing: "as" should have the case of "FROM"',
  ]);
});

test("a frontend of one's own is told to be unused, and never fetched; BuildKit's own is no news", async () => {
  expect(warnings(await build("# syntax=registry.invalid/my/frontend:2\nFROM scratch\nENV a=1\n"))).toEqual([
    "Containerfile:1:1: the frontend registry.invalid/my/frontend:2 is not used: no image is run to read the file",
  ]);
  for (const usual of ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile"])
    expect(warnings(await build(`# syntax=${usual}\nFROM scratch\nENV a=1\n`))).toEqual([]);
});

test("variables of a base image are known", async () => {
  await using cooper = await openCooper({ root });
  const containerfile = "FROM scratch\nENV SET=1\n";
  await cooper.build({ contextDir: root, containerfile, tags: ["localhost/lint-base"] });
  const events = await build("FROM localhost/lint-base\nENV a=$SET b=$UNSET\n");
  expect(warnings(events)).toEqual(["Containerfile:2:14: UndefinedVar: nothing sets the variable $UNSET"]);
});

test("# check= skips, and error=true fails before the first step with all findings", async () => {
  expect(warnings(await build(`# check=skip=all\n${TEXT}`))).toEqual([]);
  const events: CooperEvent[] = [];
  await using cooper = await openCooper({ root });
  const containerfile = `# check=error=true\n${TEXT}`;
  const failed = cooper.build({ contextDir: root, containerfile, onEvent: (event) => events.push(event) });
  await expect(failed).rejects.toMatchObject({
    code: "syntax",
    exitCode: 125,
    message: expect.stringContaining("LegacyKeyValueFormat, UndefinedVar") as string,
    findings: { length: 4 },
  });
  expect(events.filter(({ type }) => type === "step-start")).toEqual([]);
  await expect(build("# check=bogus\nFROM scratch\n")).rejects.toMatchObject({ code: "syntax" });
});

test("BUILDKIT_DOCKERFILE_CHECK takes the place of # check=", async () => {
  const buildArgs = { BUILDKIT_DOCKERFILE_CHECK: "skip=all" };
  expect(warnings(await build(`# check=error=true\n${TEXT}`, { buildArgs }))).toEqual([]);
});
