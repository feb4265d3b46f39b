import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BASE_NAME, openBench } from "../../scripts/compare/bench.js";
import type { CaseBench } from "../../scripts/compare/bench.js";
import { buildahBuilder, buildkitBuilder, cooperBuilder } from "../../scripts/compare/builders.js";
import { buildCase, caseDifferences, expectedLines, layOut, readCases } from "../../scripts/compare/cases.js";
import type { Case } from "../../scripts/compare/cases.js";
import type { Seen } from "../../scripts/compare/differences.js";
import { openDocker } from "../../scripts/compare/docker.js";
import { readRecord } from "../../scripts/compare/record.js";
import type { Builder } from "../../scripts/compare/types.js";
import { openCooper } from "../../src/index.js";
import type { Cooper } from "../../src/index.js";
import { describeWith, unmet } from "../support/packages.js";
import { openPeers } from "../support/peers.js";

const FIXTURES = "fixtures/differential";
const cases = readCases(FIXTURES);
const names = cases.map(({ name }) => name);
const isStable = ({ unstable }: Case, peer: string): boolean => unstable?.[peer] === undefined;
const caseOf = (name: string): Case => cases.find((one) => one.name === name) as Case;

const MINUTES = 60_000;
const BUILDAH = ["buildah", "crun"];
/** buildah waits for locks and disks more than it computes; each lane has a storage of its own. */
const BUILDAH_LANES = 3;

const found = await openDocker({ start: false });
const docker = typeof found === "string" ? undefined : found;
if (typeof found === "string")
  process.stderr.write(`NOT RUN: the cases with a live BuildKit (${found}); what one made was recorded\n`);

describeWith(["root", "mounts", "busybox", "setfattr", "xz", "bzip2", "zstd"], "every case", () => {
  let store: string;
  let cooper: Cooper;
  let bench: CaseBench;
  /** Each one a lane of its own: several of one name share its cases. */
  const builders: Builder[] = [];
  const seen: Record<string, Map<string, Seen>> = {};

  beforeAll(async () => {
    store = mkdtempSync(join(tmpdir(), "cooper-compare-store-"));
    cooper = await openCooper({ root: store });
    bench = await openBench(FIXTURES, cooper);
    builders.push(cooperBuilder(cooper, "of this checkout"));
    if (unmet(BUILDAH).length === 0)
      for (let lane = 0; lane < BUILDAH_LANES; lane += 1) builders.push(await buildahBuilder(openPeers()));
    if (docker !== undefined) builders.push(buildkitBuilder(docker, bench.dir));
    const homes = new Map(cases.map((one) => [one.name, layOut(bench, one)]));
    const waiting = new Map(
      builders.map(({ name }) => [name, cases.filter((one) => isStable(one, name)).values()]),
    );
    await Promise.all(
      builders.map(async (builder) => {
        const results = (seen[builder.name] ??= new Map<string, Seen>());
        await builder.load(BASE_NAME, bench.archive);
        for (const one of waiting.get(builder.name) ?? [])
          results.set(one.name, await buildCase(bench, one, homes.get(one.name) as string, builder));
      }),
    );
  }, 20 * MINUTES);

  afterAll(async () => {
    for (const builder of builders) await builder.close();
    await cooper?.[Symbol.asyncDispose]();
    bench?.close();
    rmSync(store, { recursive: true, force: true });
  });

  /** What differs between ours and theirs, and what case.json says of it. */
  function judge(name: string, peer: string, theirs: Seen | undefined): void {
    const ours = seen["cooper"]?.get(name);
    if (ours === undefined || theirs === undefined) throw new Error(`${name} was not built`);
    const said = [ours, theirs].map((one) => (one.kind === "built" ? one.kind : one.message));
    expect(caseDifferences(ours, theirs), said.join(" | ")).toEqual(expectedLines(caseOf(name), peer));
  }

  test.each(names)("%s is what BuildKit made of it", (name) => {
    judge(name, "buildkit", readRecord(caseOf(name)));
  });

  describeWith(BUILDAH, "beside Debian's buildah", () => {
    const stable = names.filter((name) => isStable(caseOf(name), "buildah"));
    test("there are at least 120 of them", () => {
      expect(stable.length).toBeGreaterThanOrEqual(120);
    });
    test.each(stable)("%s is what buildah makes of it", (name) => {
      judge(name, "buildah", seen["buildah"]?.get(name));
    });
  });

  describe.skipIf(docker === undefined)("beside a live BuildKit", () => {
    test.each(names)("%s is what BuildKit makes of it", (name) => {
      judge(name, "buildkit", seen["buildkit"]?.get(name));
    });
  });
});
