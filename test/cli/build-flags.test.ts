import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/cooper.js";
import { argumentsOf, cli, details, digest } from "./fake-world.js";

/** The options that a build of these arguments gets; what was printed when it does not get that far. */
async function optionsOf(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Partial<BuildOptions> | string> {
  let given: BuildOptions | undefined;
  const { stderr } = await cli(["build", ...args, "."], {
    env,
    cooper: {
      build: (options) => {
        given = options;
        return Promise.resolve({
          imageId: digest("b"),
          config: details.config,
          steps: { cached: 0, built: 1 },
        });
      },
    },
  });
  return given ?? stderr;
}

describe("times", () => {
  const environment = { SOURCE_DATE_EPOCH: "1000000000" };

  test.each([
    [["--source-date-epoch", "1700000000"], {}, { sourceDateEpoch: 1_700_000_000 }],
    [
      ["--source-date-epoch=0", "--rewrite-timestamp"],
      {},
      { sourceDateEpoch: 0, rewriteTimestamps: "later" },
    ],
    [["--timestamp", "7"], environment, { sourceDateEpoch: 7, rewriteTimestamps: "all" }],
    [[], environment, { sourceDateEpoch: 1_000_000_000 }],
    [["--rewrite-timestamp"], environment, { sourceDateEpoch: 1_000_000_000, rewriteTimestamps: "later" }],
    [["--source-date-epoch", "8"], environment, { sourceDateEpoch: 8 }],
  ])("%j with %j", async (args, env, expected) => {
    expect(await optionsOf(args, env)).toMatchObject(expected);
  });

  test("a build arg goes before the environment, and an empty variable is none", async () => {
    for (const [args, env] of [
      [["--build-arg", "SOURCE_DATE_EPOCH=5"], environment],
      [["--build-arg", "SOURCE_DATE_EPOCH"], environment],
      [[], { SOURCE_DATE_EPOCH: "" }],
    ] as const) {
      expect(await optionsOf(args, env)).not.toHaveProperty("sourceDateEpoch");
    }
  });

  test.each([
    [
      ["--source-date-epoch", "now"],
      '--source-date-epoch: "now" is not a whole number of seconds since 1970',
    ],
    [["--timestamp=-1"], '--timestamp: "-1" is not a whole number of seconds since 1970'],
    [["--timestamp=1", "--source-date-epoch=1"], "--timestamp and --source-date-epoch exclude each other"],
  ])("%j is refused", async (args, message) => {
    expect(await optionsOf(args)).toBe(`Error: ${message}\n`);
  });

  test("the environment's value is named as such", async () => {
    expect(await optionsOf([], { SOURCE_DATE_EPOCH: "x" })).toBe(
      'Error: SOURCE_DATE_EPOCH in the environment: "x" is not a whole number of seconds since 1970\n',
    );
  });
});

describe("--format", () => {
  test.each([
    [["--format", "docker"], {}, "docker"],
    [["--format=oci"], { BUILDAH_FORMAT: "docker" }, "oci"],
    [[], { BUILDAH_FORMAT: "docker" }, "docker"],
  ])("%j with %j", async (args, env, format) => {
    expect(await optionsOf(args, env)).toMatchObject({ format });
  });

  test("is not said when nobody says it, and must be one of two", async () => {
    expect(await optionsOf([], { BUILDAH_FORMAT: "" })).not.toHaveProperty("format");
    expect(await optionsOf(["--format", "v1"])).toBe('Error: --format: "v1" is not one of: oci, docker\n');
    expect(await optionsOf([], { BUILDAH_FORMAT: "v1" })).toBe(
      'Error: BUILDAH_FORMAT in the environment: "v1" is not one of: oci, docker\n',
    );
  });

  test.each([
    ["v2s2", "docker"],
    ["docker", "docker"],
    ["oci", "oci"],
  ])("push --format %s", async (text, format) => {
    expect((await argumentsOf("push", "push", "--format", text, "x"))[2]).toMatchObject({ format });
  });
});

describe("--file", () => {
  test.each([
    [["-f", "a"], "a"],
    [
      ["-f", "a", "--file=-", "-f", "b"],
      ["a", "-", "b"],
    ],
  ])("%j", async (args, file) => {
    expect(await optionsOf(args)).toMatchObject({ file });
  });
});
