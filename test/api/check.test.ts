import { describe, expect, test } from "vitest";
import { check } from "../../src/index.js";

/** `line:column severity code` of every finding. */
async function told(text: string, options = {}): Promise<readonly string[]> {
  const found = await check(text, options);
  return found.map(({ code, severity, span }) => `${span.line}:${span.column} ${severity} ${code}`);
}

describe("check", () => {
  test("finds all that does not parse", async () => {
    expect(await told("FROM scratch\nRNU x\nCOPY a\nENV\n")).toEqual([
      "2:1 error UnknownInstruction",
      "3:6 error MissingSource",
      "4:1 error InvalidSyntax",
    ]);
  });

  test.each([
    ["a number that is no stage", "FROM scratch\nCOPY --from=1 a b\n", "2:6"],
    ["a stage that comes later", "FROM scratch AS a\nCOPY --from=b a b\nFROM scratch AS b\n", "2:6"],
    ["a mode that is none", "FROM scratch\nCOPY --chmod=8 a b\n", "2:6"],
    ["a mount that is none", "FROM scratch\nRUN --mount=type=none x\n", "2:5"],
    ["an owner that is none", "FROM scratch\nCOPY --chown=4294967295 a b\n", "2:6"],
    ["a network that is none", "FROM scratch\nRUN --network=home x\n", "2:5"],
    ["a port that is none", "FROM scratch\nEXPOSE http\n", "2:8"],
    ["a signal that is none", "FROM scratch\nSTOPSIGNAL @\n", "2:1"],
  ])("refuses %s", async (_, text, place) => {
    const errors = (await told(text)).filter((one) => one.includes(" error "));
    expect(errors).toEqual([expect.stringMatching(new RegExp(`^${place} error Invalid(?:Stage|Value)$`))]);
  });

  test("calls a wrong word of a flag a value", async () => {
    expect(await told("FROM scratch\nRUN --network=home --security=none x\n")).toEqual([
      "2:5 error InvalidValue",
      "2:20 error InvalidValue",
    ]);
  });

  test("refuses several of them at once", async () => {
    expect(await told("FROM scratch\nCOPY --from=1 a b\nCOPY --from=2 a b\nEXPOSE x\n")).toEqual([
      "2:6 error InvalidStage",
      "3:6 error InvalidStage",
      "4:8 error InvalidValue",
    ]);
  });

  test("says nothing of values that variables may make good", async () => {
    expect(await told("ARG V\nFROM busybox:${V:-1}\nEXPOSE $p\nCOPY --chmod=$m --from=$s a b\n")).toEqual([
      "4:24 warning VariableInFromFlag",
    ]);
  });

  test("knows build args", async () => {
    const text = "FROM scratch\nARG d\nWORKDIR /${d:-x}\nENV a=$e\n";
    expect(await told(text)).toEqual(["4:7 warning UndefinedVar"]);
    expect(await told("ARG b=x\nFROM scratch\nARG b\nWORKDIR $b\n", { buildArgs: { b: "/x" } })).toEqual([]);
  });

  test("reports errors and lint in the order of the text, and never throws", async () => {
    expect(await told("# check=nonsense\nFROM scratch\nEXPOSE x\n")).toEqual([
      "1:1 error InvalidCheck",
      "3:8 error InvalidValue",
    ]);
    expect(await told("")).toEqual(["1:1 error EmptyFile"]);
    expect((await told("\0"))[0]).toBe("1:1 error NulCharacter");
  });
});
