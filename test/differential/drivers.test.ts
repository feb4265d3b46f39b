import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BASE_NAME, openBench } from "../../scripts/compare/bench.js";
import type { CaseBench } from "../../scripts/compare/bench.js";
import { cooperBuilder } from "../../scripts/compare/builders.js";
import { buildCase, caseDifferences, layOut, readCases } from "../../scripts/compare/cases.js";
import type { ExpectedDifference } from "../../scripts/compare/cases.js";
import type { Seen } from "../../scripts/compare/differences.js";
import type { Builder } from "../../scripts/compare/types.js";
import { openCooper } from "../../src/index.js";
import type { Cooper } from "../../src/index.js";
import { openUsers } from "../api/users.js";
import type { Users } from "../api/users.js";
import { describeWith } from "../support/packages.js";
import { rootlessBuilder } from "./rootless-builder.js";

const FIXTURES = "fixtures/differential";
const MINUTES = 60_000;

/** Cases that are there for the drivers alone, and those of the comparison with other builders in which a RUN is the matter. */
const cases = [
  ...readCases("fixtures/drivers"),
  ...readCases(FIXTURES).filter(({ name }) => /^(?:run|user)-/.test(name)),
];
const names = cases.map(({ name }) => name);

/** Driver → case → what is meant to differ from what the native driver makes as root. */
const meant = JSON.parse(readFileSync("fixtures/drivers.json", "utf8")) as Readonly<
  Record<string, Readonly<Record<string, ExpectedDifference>>>
>;

const OTHERS = ["rootless", "userns", "crun", "runc", "chroot"] as const;

describeWith(
  ["root", "mounts", "busybox", "setfattr", "xz", "bzip2", "zstd", "crun", "runc", "newuidmap"],
  "every case, by each driver",
  () => {
    const seen: Record<string, Map<string, Seen>> = {};
    const open: Cooper[] = [];
    const builders: Builder[] = [];
    let dir: string;
    let bench: CaseBench | undefined;
    let users: Users | undefined;

    /** As root, with a store of its own. */
    const rootBuilder = async (name: string, settings: Parameters<typeof cooperBuilder>[2]) => {
      const cooper = await openCooper({ root: join(dir, name) });
      open.push(cooper);
      return { ...cooperBuilder(cooper, name, settings), name };
    };

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), "cooper-drivers-"));
      users = openUsers();
      bench = await openBench(FIXTURES, await openCooper({ root: join(dir, "bench") }));
      builders.push(
        await rootBuilder("native", { isolation: "native" }),
        rootlessBuilder(users, users.add({ subordinateIds: true })),
        await rootBuilder("userns", { isolation: "native", userns: "auto" }),
        await rootBuilder("crun", { isolation: "oci", runtime: "crun" }),
        await rootBuilder("runc", { isolation: "oci", runtime: "runc" }),
        await rootBuilder("chroot", { isolation: "chroot" }),
      );
      const { dir: shared, archive } = bench;
      const homes = new Map(cases.map((one) => [one.name, layOut(bench as CaseBench, one)]));
      // An ordinary user reads them, too.
      execFileSync("chmod", ["-R", "a+rX", shared]);
      await Promise.all(
        builders.map(async (builder) => {
          const results = (seen[builder.name] = new Map<string, Seen>());
          await builder.load(BASE_NAME, archive);
          for (const one of cases)
            results.set(
              one.name,
              await buildCase(bench as CaseBench, one, homes.get(one.name) as string, builder),
            );
        }),
      );
    }, 10 * MINUTES);

    afterAll(async () => {
      for (const builder of builders) await builder.close();
      for (const cooper of open) await cooper[Symbol.asyncDispose]();
      bench?.close();
      users?.[Symbol.dispose]();
      rmSync(dir, { recursive: true, force: true });
    });

    test("there are at least 40 of them, and no exception for one that is not there", () => {
      expect(names.length).toBeGreaterThanOrEqual(40);
      for (const exceptions of Object.values(meant))
        expect(Object.keys(exceptions).filter((name) => !names.includes(name))).toEqual([]);
    });

    test("the drivers' rows stand in the documentation", () => {
      const text = readFileSync("docs/isolation.md", "utf8");
      const rows = Object.values(meant).flatMap((exceptions) => Object.values(exceptions));
      expect(rows.filter(({ row }) => !text.includes(`| \`${row}\` |`))).toEqual([]);
    });

    describe.each(OTHERS)("%s", (driver) => {
      test.each(names)("%s", (name) => {
        const [ours, theirs] = [seen["native"]?.get(name), seen[driver]?.get(name)];
        if (ours === undefined || theirs === undefined) throw new Error(`${name} was not built`);
        const said = [ours, theirs].map((one) => (one.kind === "built" ? one.kind : one.message));
        const { lines = [] } = meant[driver]?.[name] ?? {};
        expect(caseDifferences(ours, theirs).join("\n"), said.join(" | ")).toBe(lines.toSorted().join("\n"));
      });
    });
  },
);
