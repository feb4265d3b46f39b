import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { copyModules } from "../support/installed.js";
import { describeWith } from "../support/packages.js";

/** An ordinary user that exists nowhere, and the range that is delegated to it. */
const USER = 231_072;
const RANGE = 65_536;

interface Found {
  readonly uid: number;
  readonly map: readonly string[];
  readonly merged: string;
  readonly members: string;
  readonly after: string;
  readonly made: string;
  readonly whiteoutIsDevice: boolean;
  readonly forged: readonly string[];
  readonly capability: boolean;
  readonly entries: Readonly<
    Record<
      string,
      {
        readonly type: string;
        readonly uid: number;
        readonly gid: number;
        readonly mode: number;
        readonly device?: object;
      }
    >
  >;
  readonly standIn: boolean;
  readonly listed: string;
  readonly all: number;
}

let scratch = "";

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "cooper-rootless-"));
  chmodSync(scratch, 0o755);
  await build({
    entryPoints: [new URL("rootless-core.ts", import.meta.url).pathname],
    outfile: join(scratch, "core.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    external: ["koffi", "vitest"],
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
    logLevel: "error",
  });
  copyModules(scratch);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs the core as an ordinary user, root of a user namespace with `count` ids. */
async function runCore(count: number): Promise<Found> {
  const work = mkdtempSync(join(scratch, "work-"));
  chownSync(work, USER, USER);
  const child = spawn(
    "setpriv",
    [
      "--reuid",
      String(USER),
      "--regid",
      String(USER),
      "--clear-groups",
      "--inh-caps=-all",
      "unshare",
      "--user",
      "--mount",
      "sh",
      "-c",
      'echo ready; read -r go; exec setpriv --reuid 0 --regid 0 --clear-groups "$0" "$@"',
      process.execPath,
      join(scratch, "core.mjs"),
      work,
      String(count),
    ],
    { stdio: ["pipe", "pipe", "pipe"], env: { PATH: process.env["PATH"], TMPDIR: work, HOME: work } },
  );
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = once(child, "close");
  await once(child.stdout, "data");
  out = "";
  // What newuidmap would write for the user.
  for (const file of ["uid_map", "gid_map"])
    writeFileSync(`/proc/${child.pid}/${file}`, `0 ${USER} ${count}\n`);
  child.stdin.end("go\n");
  const [code] = (await ended) as [number];
  expect(code, errors).toBe(0);
  return JSON.parse(out) as Found;
}

describeWith(["root", "mounts"], "in a user namespace", () => {
  const made = new Set<string>();

  test.each([RANGE, 1])("with %i mapped ids, layers, mounts and commits work as for root", async (count) => {
    const found = await runCore(count);
    expect(found.uid).toBe(0);
    expect(found.map).toEqual(["0", String(USER), String(count)]);
    expect(found.merged).toBe(".:\nd\no\n\nd:\na\nsub\n\no:\nnew\n");
    expect(found.members).toBe("d/\nd/.wh.a\nd/sub/\nd/sub/.wh..wh..opq\nd/sub/z\n");
    expect(found.after).toBe(".:\nd\no\n\nd:\nsub\n\nd/sub:\nz\n");
    expect(found.whiteoutIsDevice).toBe(true);
    expect(found.forged).toEqual([]);
    expect(found.capability).toBe(true);
    made.add(found.made);
  });

  test("devices and owners that the namespace lacks are kept in stand-ins and come out of a commit as they were", async () => {
    const found = await runCore(RANGE);
    expect(found.all).toBe(9);
    expect(found.standIn).toBe(true);
    expect(found.entries["dev/null"]).toEqual({
      type: "char",
      uid: 0,
      gid: 0,
      mode: 0o666,
      device: { major: 1, minor: 3 },
    });
    expect(found.entries["dev/sda"]).toMatchObject({ type: "block", gid: 6, device: { major: 8, minor: 0 } });
    expect(found.entries["fifo"]).toMatchObject({ type: "fifo" });
    expect(found.entries["stranger"]).toMatchObject({ type: "file", uid: RANGE, gid: RANGE });
    expect(found.listed.replaceAll(/ +/g, " ").split("\n").filter(Boolean)).toEqual([
      "drwxr-xr-x 0/0 0 2001-09-09 01:46 dev/",
      "crw-r----- 0/0 1,3 2001-09-09 01:46 dev/null",
      `-rw-r----- ${RANGE}/${RANGE} 1 2001-09-09 01:46 stranger`,
    ]);
    made.add(found.made);
    expect(made.size).toBe(1);
  });
});
