import { describe, expect, test } from "vitest";
import type { FlagTable } from "../../src/cli/args.js";
import { parseArguments } from "../../src/cli/args.js";
import { nearest } from "../../src/cli/suggest.js";

const flags = {
  file: { kind: "once", short: "f", help: "" },
  tag: { kind: "list", short: "t", help: "" },
  target: { kind: "string", help: "" },
  pull: { kind: "optional", implied: "always", choices: ["always", "never"], help: "" },
  quiet: { kind: "boolean", short: "q", help: "" },
  interactive: { kind: "boolean", short: "i", help: "" },
  "tls-verify": { kind: "boolean", help: "" },
  jobs: { kind: "number", help: "" },
} as const satisfies FlagTable;

const rules = { name: "cooper build", flags, unsupported: "secret volume,v squash" };
const parse = (...args: string[]) => parseArguments(args, rules);

describe("flags", () => {
  test("take their value from the same or the next argument", () => {
    expect(parse("--file=a", "ctx").flags.file).toBe("a");
    expect(parse("--file", "a", "ctx")).toEqual({ flags: { file: "a", tag: [] }, operands: ["ctx"] });
    expect(parse("-fa").flags.file).toBe("a");
    expect(parse("-f", "-").flags.file).toBe("-");
    expect(parse("-f=a").flags.file).toBe("a");
    expect(parse("--target=").flags.target).toBe("");
  });

  test("repeat, cluster, and stand anywhere", () => {
    expect(parse("-t", "a", "ctx", "-tb", "--tag=c", "-q")).toEqual({
      flags: { tag: ["a", "b", "c"], quiet: true },
      operands: ["ctx"],
    });
    expect(parse("-qi").flags).toMatchObject({ quiet: true, interactive: true });
    expect(parse("-qt", "x").flags).toMatchObject({ quiet: true, tag: ["x"] });
    expect(parse("-qtx").flags).toMatchObject({ quiet: true, tag: ["x"] });
  });

  test("a boolean can be switched off, and the last one counts", () => {
    expect(parse("--tls-verify=false").flags["tls-verify"]).toBe(false);
    expect(parse("--tls-verify=0", "--tls-verify").flags["tls-verify"]).toBe(true);
    expect(() => parse("--tls-verify=maybe")).toThrow('--tls-verify: "maybe" is neither true nor false');
  });

  test("an optional value never eats the next argument", () => {
    expect(parse("--pull", "ctx")).toMatchObject({ flags: { pull: "always" }, operands: ["ctx"] });
    expect(parse("--pull=never").flags.pull).toBe("never");
    expect(() => parse("--pull=sometimes")).toThrow('--pull: "sometimes" is not one of: always, never');
  });

  test("-- ends them, and with optionsFirst so does the first operand", () => {
    expect(parse("--", "-q").operands).toEqual(["-q"]);
    const first = (...args: string[]) => parseArguments(args, { ...rules, optionsFirst: true });
    expect(first("-q", "img", "ls", "-q", "--", "--no-such-flag")).toEqual({
      flags: { quiet: true, tag: [] },
      operands: ["img", "ls", "-q", "--", "--no-such-flag"],
    });
    expect(first("-q", "--", "img", "-x").operands).toEqual(["img", "-x"]);
  });
});

describe("mistakes", () => {
  test.each([
    [["--foo"], 'unknown flag --foo for "cooper build"'],
    [["--tagg", "x"], 'unknown flag --tagg for "cooper build"; did you mean --tag?'],
    [["--tar=x"], 'unknown flag --tar for "cooper build"; did you mean --target?'],
    [["-x"], 'unknown flag -x for "cooper build"'],
    [["-qx"], 'unknown flag -x for "cooper build"'],
    [["--q"], 'unknown flag --q for "cooper build"'],
    [["--file"], "--file needs a value"],
    [["-f", "a", "-f", "b"], "--file can be given only once"],
    [["--jobs=x"], '--jobs: "x" is not a whole number'],
    [["--jobs=-1"], '--jobs: "-1" is not a whole number'],
    [["--__proto__=x"], 'unknown flag --__proto__ for "cooper build"'],
    [["--constructor"], 'unknown flag --constructor for "cooper build"'],
  ])("%j", (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });

  test.each([[["--secret", "id=x"]], [["-v", "a:b"]], [["--volume=a:b"]], [["--squash"]]])(
    "%j is known but not supported yet",
    (args) => {
      expect(() => parse(...args)).toThrow(
        expect.objectContaining({
          code: "unsupported",
          message: expect.stringContaining("is not supported yet"),
        }),
      );
    },
  );
});

test("suggestions are near or absent", () => {
  const names = ["build", "images", "inspect", "run"];
  expect(nearest("biuld", names)).toBe("build");
  expect(nearest("imges", names)).toBe("images");
  expect(nearest("ins", names)).toBe("inspect");
  expect(nearest("xyzzy", names)).toBeUndefined();
});
