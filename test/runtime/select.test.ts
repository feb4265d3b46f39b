import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeChoice, openVerdicts, readRights, selectDriver } from "../../src/runtime/index.js";
import type { Verdict, Verdicts } from "../../src/runtime/index.js";
import { childPath, requireSandbox } from "./support.js";

let dir: string;
beforeAll(() => {
  requireSandbox();
  dir = mkdtempSync(join(tmpdir(), "cooper-select-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const rights = readRights("");
const no = (message: string): Verdict => ({ works: false, message });

describe("what was found out", () => {
  const open = (name: string, changes: object = {}): Verdicts =>
    openVerdicts(join(dir, name), { ...rights, ...changes }, "1");

  test("is there for the same rights, also when two find something out at once", () => {
    const [one, two] = [open("same"), open("same")];
    expect(one.recall("native")).toBeUndefined();
    two.recall("native");
    one.remember("native", no("x"));
    two.remember("oci", { works: true });
    expect(open("same").recall("native")).toEqual(no("x"));
    expect(open("same").recall("oci")).toEqual({ works: true });
    open("same").forget();
    expect(open("same").recall("native")).toBeUndefined();
  });

  test.each([
    { bootId: "other" },
    { kernel: "6.0" },
    { uid: 1 },
    { capabilities: "0000000000000000" },
    { seccomp: "2 1" },
    { noNewPrivileges: "1" },
    { mountNamespace: "mnt:[1]" },
    { userNamespace: "user:[1]" },
    { confinement: "docker-default (enforce)" },
    { surroundings: "" },
  ])("is not there for %j", (changes) => {
    open("rights").remember("native", { works: true });
    expect(open("rights", changes).recall("native")).toBeUndefined();
    expect(open("rights").recall("native")).toEqual({ works: true });
  });

  test("is not there for another cooper", () => {
    open("version").remember("native", { works: true });
    expect(openVerdicts(join(dir, "version"), rights, "2").recall("native")).toBeUndefined();
  });

  test.each(["", "{", "null", "[]", '{"key":1}', "\0"])("is not there in a file of %j", (text) => {
    open("damaged").remember("native", { works: true });
    const [file = ""] = readdirSync(join(dir, "damaged"));
    const { key } = JSON.parse(readFileSync(join(dir, "damaged", file), "utf8")) as { key: string };
    writeFileSync(join(dir, "damaged", file), text);
    expect(open("damaged").recall("native")).toBeUndefined();
    writeFileSync(
      join(dir, "damaged", file),
      JSON.stringify({ key, verdicts: { native: { works: "yes" } } }),
    );
    expect(open("damaged").recall("native")).toBeUndefined();
  });

  test("is forgotten, oldest first, when many kinds of rights come by", () => {
    for (let uid = 0; uid < 40; uid += 1) {
      open("many", { uid }).remember("native", { works: true });
      for (const file of readdirSync(join(dir, "many"))) {
        const path = join(dir, "many", file);
        if (readFileSync(path, "utf8").includes(`\\"uid\\":${uid},`)) utimesSync(path, uid, uid);
      }
    }
    expect(readdirSync(join(dir, "many")).length).toBeLessThanOrEqual(33);
    expect(open("many", { uid: 39 }).recall("native")).toEqual({ works: true });
    expect(open("many", { uid: 0 }).recall("native")).toBeUndefined();
  });

  test("costs no error where it cannot be written", () => {
    writeFileSync(join(dir, "file"), "");
    const verdicts = open("file/below");
    verdicts.remember("native", { works: true });
    expect(verdicts.recall("native")).toEqual({ works: true });
  });
});

describe("the ladder", () => {
  const options = () => {
    const scratchDir = mkdtempSync(join(dir, "scratch-"));
    return { childPath, scratchDir, userNamespace: false };
  };
  const memory = (
    known: Readonly<Record<string, Verdict>>,
  ): Verdicts & { readonly map: Map<string, Verdict> } => {
    const map = new Map(Object.entries(known));
    return {
      map,
      recall: (name) => map.get(name),
      remember: (name, verdict) => void map.set(name, verdict),
      forget: () => map.clear(),
    };
  };
  const auto = { isolation: "auto", runtime: undefined } as const;

  test("native, tried and remembered; nothing is said", async () => {
    const verdicts = memory({});
    const choice = await selectDriver(auto, options(), verdicts);
    expect(choice).toMatchObject({ driver: "native", skipped: [], isRemembered: false });
    expect(describeChoice(choice)).toBeUndefined();
    expect(verdicts.map.get("native")).toEqual({ works: true });
    expect(await selectDriver(auto, options(), verdicts)).toMatchObject({
      driver: "native",
      isRemembered: true,
    });
  });

  test("what is below native is said with every reason", async () => {
    const known = { native: no("cannot a"), oci: no("cannot b"), chroot: { works: true } } as const;
    const choice = await selectDriver(auto, options(), memory(known));
    expect(choice.driver).toBe("chroot");
    expect(describeChoice(choice)).toMatch(
      /^isolation: chroot, since native does not work: cannot a; oci does not work: cannot b; .*they share/,
    );
  });

  test("nothing works: every rung and the first hint", async () => {
    const known = {
      native: no("cannot a"),
      oci: { ...no("cannot b"), hint: "do c" },
      chroot: no("cannot d"),
    };
    await expect(selectDriver(auto, options(), memory(known))).rejects.toMatchObject({
      code: "sandbox",
      message: "nothing here can isolate a process: native: cannot a; oci: cannot b; chroot: cannot d",
      hint: "do c",
    });
  });

  test("one that is insisted on is tried, whatever is remembered", async () => {
    const native = { isolation: "native", runtime: undefined } as const;
    const verdicts = memory({ native: no("was impossible") });
    expect(await selectDriver(native, options(), verdicts)).toMatchObject({ driver: "native", skipped: [] });
    expect(verdicts.map.get("native")).toEqual({ works: true });
    const impossible = { ...options(), childPath: "/nowhere" };
    await expect(selectDriver(native, impossible, memory({}))).rejects.toMatchObject({
      code: "sandbox",
      message: expect.stringMatching(/^isolation "native" does not work here: /),
    });
  });

  test("leaves nothing behind", async () => {
    const { scratchDir, ...rest } = options();
    mkdirSync(join(scratchDir, "mine"));
    await selectDriver(auto, { ...rest, scratchDir }, memory({}));
    expect(readdirSync(scratchDir)).toEqual(["mine"]);
  });
});
