import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFile } from "node:child_process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-lint-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command in the scratch directory. */
function cooper(args: readonly string[], stdin = ""): Promise<Ended> {
  return new Promise((done) => {
    const argv = [join(process.cwd(), "dist/cooper.cjs"), "--root", join(dir, "store"), ...args];
    const child = execFile(process.execPath, argv, { cwd: dir }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
    child.stdin?.end(stdin);
  });
}

const write = (text: string, name = "Containerfile"): void => writeFileSync(join(dir, name), text);

describe("cooper lint", () => {
  test("says where, what, which rule, and counts; warnings are no failure", async () => {
    write("FROM scratch as Base\nCMD /app\n");
    const { code, stdout, stderr } = await cooper(["lint"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toBe(
      [
        'Containerfile:1:14: warning: "as" should have the case of "FROM" [FromAsCasing]',
        "1 | FROM scratch as Base",
        "  |              ^^",
        "hint: write AS",
        "",
        'Containerfile:1:17: warning: the stage name "Base" should be in lower case [StageNameCasing]',
        "1 | FROM scratch as Base",
        "  |                 ^^^^",
        "hint: write base",
        "",
        "Containerfile:2:1: warning: CMD in shell form runs under a shell that does not pass signals on [JSONArgsRecommended]",
        "2 | CMD /app",
        "  | ^^^",
        'hint: write CMD ["/app"]',
        "",
        "Containerfile: 0 errors, 3 warnings, --fix can mend 2",
        "",
      ].join("\n"),
    );
  });

  test("errors of the language are findings, all of them, and a failure", async () => {
    write("FROM scratch\nRNU x\nCOPY a\n");
    const { code, stdout } = await cooper(["lint"]);
    expect(code).toBe(1);
    expect(stdout).toContain("2:1: error: ");
    expect(stdout).toContain("3:6: error: ");
    expect(stdout).toMatch(/Containerfile: 2 errors, 0 warnings\n$/);
  });

  test("so is what a build would refuse, and every finding with error=true", async () => {
    write("FROM scratch\nCOPY --from=5 a b\nCOPY --chmod=9 a b\n");
    const refused = await cooper(["lint"]);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain("2:6: error: ");
    expect(refused.stdout).toContain("3:6: error: ");
    write("# check=error=true\nFROM scratch as a\n");
    expect(await cooper(["lint"])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining("2:14: error: ") as string,
    });
  });

  test("--fix writes what it mends, through a link, keeps the mode, and tells what is left", async () => {
    write("FROM scratch as Base\r\nENV a b c\r\nCMD /app\r\n", "real");
    symlinkSync("real", join(dir, "Containerfile"));
    const { code, stdout } = await cooper(["lint", "--fix"]);
    expect(code).toBe(0);
    expect(readFileSync(join(dir, "real"), "utf8")).toBe(
      'FROM scratch AS base\r\nENV a="b c"\r\nCMD /app\r\n',
    );
    expect(statSync(join(dir, "real")).mode & 0o777).toBe(0o644);
    expect(stdout).toContain("Containerfile:2: fixed: ");
    expect(stdout).toContain("[JSONArgsRecommended]");
    expect(stdout).toMatch(/Containerfile: 3 fixed, 0 errors, 1 warning\n$/);
    const again = await cooper(["lint", "--fix"]);
    expect(again.stdout).not.toContain("fixed");
  });

  test("reads stdin, and does not fix it", async () => {
    const { stdout } = await cooper(["lint", "-f", "-"], "FROM scratch as a\n");
    expect(stdout).toContain("stdin:1:14: warning: ");
    expect(await cooper(["lint", "--fix", "-f", "-"], "FROM scratch\n")).toMatchObject({ code: 125 });
  });

  test("reads the ignore file of a CONTEXT", async () => {
    write("# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY a /\nCOPY b /\nCOPY . /\n");
    write("*\n!b/c\n", ".containerignore");
    expect((await cooper(["lint", "."])).stdout).toMatch(/3:6: .*\[CopyIgnoredFile\][^]* 1 warning\n$/);
    expect((await cooper(["lint"])).stdout).toMatch(/ 0 warnings\n$/);
  });

  test("a missing file is an ordinary failure", async () => {
    expect(await cooper(["lint", "-f", "nowhere"])).toMatchObject({ code: 125, stdout: "" });
  });
});

interface Sarif {
  readonly version: string;
  readonly $schema: string;
  readonly runs: readonly {
    readonly tool: {
      readonly driver: { readonly name: string; readonly rules: readonly { readonly id: string }[] };
    };
    readonly results: readonly {
      readonly ruleId: string;
      readonly ruleIndex: number;
      readonly level: string;
      readonly message: { readonly text: string };
      readonly locations: readonly {
        readonly physicalLocation: {
          readonly artifactLocation: { readonly uri: string };
          readonly region: Readonly<Record<string, number>>;
        };
      }[];
    }[];
  }[];
}

describe("formats", () => {
  const parsed = async <T>(format: string): Promise<T> =>
    JSON.parse((await cooper(["lint", "--format", format])).stdout) as T;

  test("sarif is what code scanning reads", async () => {
    write("FROM scratch AS Base\nENV a b\nENV c=$d\n");
    const { version, $schema, runs } = await parsed<Sarif>("sarif");
    expect(version).toBe("2.1.0");
    expect($schema).toMatch(/sarif-2\.1\.0\.json$/);
    const [run] = runs;
    expect(run?.tool.driver.name).toBe("cooper");
    expect(run?.results).toHaveLength(3);
    for (const { ruleId, ruleIndex, level, message, locations } of run?.results ?? []) {
      expect(run?.tool.driver.rules[ruleIndex]?.id).toBe(ruleId);
      expect(level).toBe("warning");
      expect(message.text).not.toBe("");
      expect(locations[0]?.physicalLocation.artifactLocation.uri).toBe("Containerfile");
    }
    expect(run?.results[0]?.locations[0]?.physicalLocation.region).toEqual({
      startLine: 1,
      startColumn: 17,
      endLine: 1,
      endColumn: 21,
    });
  });

  test("codequality has fingerprints that stay when lines move", async () => {
    interface Issue {
      readonly fingerprint: string;
      readonly check_name: string;
      readonly location: { readonly path: string; readonly lines: { readonly begin: number } };
    }
    write("FROM scratch\nENV a b\nENV a b\n");
    const before = await parsed<readonly Issue[]>("codequality");
    write("FROM scratch\n\n# moved\nENV a b\nENV a b\n");
    const after = await parsed<readonly Issue[]>("codequality");
    expect(before.map(({ fingerprint }) => fingerprint)).toEqual(after.map(({ fingerprint }) => fingerprint));
    expect(new Set(before.map(({ fingerprint }) => fingerprint)).size).toBe(2);
    expect(after[0]).toMatchObject({
      check_name: "LegacyKeyValueFormat",
      severity: "minor",
      location: { path: "Containerfile", lines: { begin: 4 } },
    });
  });

  test("json has every place whole", async () => {
    write("FROM scratch\nENV a b\n");
    expect(await parsed("json")).toMatchObject({
      file: "Containerfile",
      diagnostics: [
        { code: "LegacyKeyValueFormat", line: 2, column: 5, endLine: 2, endColumn: 6, fixable: true },
      ],
      fixed: [],
    });
  });
});
