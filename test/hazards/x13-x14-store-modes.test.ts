import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { execute } from "../e2e/command.js";
import { PROGRAM } from "../faults/fault-lab.js";
import { openCanary } from "../support/canary.js";
import { HOSTILE, loadBase } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { describeWith, testWith } from "../support/packages.js";
import { readFileSync } from "node:fs";

const NOBODY = { uid: 65_534, gid: 65_534 };

describeWith(["root"], "X13: another user of the machine", () => {
  test("cannot look into the store, nor run a setuid program in it", async () => {
    await using lab = await openLab();
    // The lab itself is open to all, as /var/lib is.
    spawnSync("chmod", ["755", lab.dir]);
    const base = [{ name: "su", content: "#!/bin/sh\nid\n", mode: 0o6755 }];
    await loadBase(lab, base);
    await lab.build(`FROM ${HOSTILE}\nRUN true\n`);
    const { root } = lab.cooper;
    expect(lstatSync(root).mode & 0o7777).toBe(0o700);
    const paths = ["", ...readdirSync(root, { recursive: true, encoding: "utf8" })];
    const program = paths.find((path) => path.endsWith("tree/su"));
    expect(program).toBeDefined();
    for (const [command, ...args] of [
      ["ls", root],
      ["cat", join(root, "format.json")],
      ["ls", join(root, "layers")],
      [join(root, program ?? "")],
      ["touch", join(root, "tmp/x")],
      ["ls", join(root, "tmp")],
    ] as const)
      expect(spawnSync(command ?? "", args, NOBODY).status, `${command} ${args.join(" ")}`).not.toBe(0);
    const found = spawnSync("find", [root, "-perm", "-4000"], { ...NOBODY, encoding: "utf8" });
    expect([found.stdout, found.stderr]).toEqual(["", expect.stringContaining("Permission denied")]);
  });
});

testWith(
  ["root", "strace"],
  "X14: nothing is made outside the store, whatever others have put in the directory of temporary files",
  async () => {
    await using lab = await openLab();
    using canary = openCanary(lab.dir);
    await loadBase(lab, []);
    const shared = join(lab.dir, "tmp");
    mkdirSync(shared, { mode: 0o1777 });
    for (const name of ["cooper", "cooper-0", "cooper.sock", "sandbox", "layer", "archive", "stdin.tar"])
      symlinkSync(join(canary.dir, "victim"), join(shared, name));
    const before = readdirSync(shared);
    writeFileSync(join(lab.context, "Containerfile"), `FROM ${HOSTILE}\nCOPY busybox /b\nRUN true\n`);
    const log = join(lab.dir, "trace");
    const trace = [
      "-f",
      "-qq",
      "-e",
      "trace=openat,mkdir,mkdirat,symlink,symlinkat,rename,renameat2",
      "-o",
      log,
    ];
    const env = { COOPER_ROOT: lab.cooper.root, TMPDIR: shared };
    const program = [process.execPath, PROGRAM];
    // slirp4netns makes directories in a /tmp that it alone sees, which the trace does not tell from the machine's.
    const host = "--network=host";
    await execute("strace", [...trace, ...program, "build", host, "-t", "x", lab.context], { env });
    await execute("strace", ["-A", ...trace, ...program, "run", host, "--rm", "x", "true"], { env });
    canary.untouched();
    expect(readdirSync(shared)).toEqual(before);
    const made = readFileSync(log, "utf8")
      .split("\n")
      .filter((line) => /O_CREAT|mkdir|symlink|rename/.test(line) && !/ = -1 /.test(line))
      .map((line) => /"([^"]*)"/.exec(line)?.[1] ?? "");
    const absolute = made.filter((path) => path.startsWith("/") && !path.startsWith(`${lab.cooper.root}/`));
    // What is left is made inside the step's own root or /dev.
    expect(absolute.filter((path) => /^\/(tmp|var|run|home|root)\b/.test(path))).toEqual([]);
    for (const kept of ["tmp", "locks", "layers"])
      expect(lstatSync(join(lab.cooper.root, kept)).mode & 0o022).toBe(0);
  },
);
