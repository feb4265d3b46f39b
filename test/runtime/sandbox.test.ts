import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasCode } from "../../src/errors.js";
import type { Bench } from "./support.js";
import { PATH, exited, openBench, syscallProgram, testX64, withCapabilities } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("how a process ends", () => {
  test.each([0, 1, 3, 125, 255])("exit %i", async (code) => {
    expect((await bench.sh(`exit ${code}`)).status).toEqual(exited(code));
  });

  test("by a signal", async () => {
    // Process 1 of a namespace is immune to its own signals, so a child of it reports.
    const { status, stdout } = await bench.sh("sh -c 'kill -SEGV $$'; echo $?");
    expect([status, stdout]).toEqual([exited(0), "139\n"]);
  });

  test("P4: a missing command, by name and by path", async () => {
    expect(await bench.run(["nope"])).toMatchObject({
      status: exited(127),
      stderr: 'exec "nope": executable file not found in $PATH\n',
    });
    expect(await bench.run(["/bin/nope"])).toMatchObject({
      status: exited(127),
      stderr: 'exec "/bin/nope": no such file or directory\n',
    });
    expect((await bench.run([""])).status).toEqual(exited(127));
  });

  test("P4: not executable, no program at all, a missing interpreter, a directory", async () => {
    const layer = bench.layer();
    writeFileSync(join(layer, "plain"), "#!/bin/sh\nexit 0\n", { mode: 0o644 });
    writeFileSync(join(layer, "junk"), "\x01\x02\x03\x04", { mode: 0o755 });
    writeFileSync(join(layer, "lost"), "#!/no/such/interpreter\n", { mode: 0o755 });
    const lowerDirs = [layer, bench.base];
    expect(await bench.run(["/plain"], { lowerDirs })).toMatchObject({
      status: exited(126),
      stderr: 'exec "/plain": permission denied\n',
    });
    expect(await bench.run(["/junk"], { lowerDirs })).toMatchObject({
      status: exited(126),
      stderr: 'exec "/junk": exec format error\n',
    });
    expect((await bench.run(["/lost"], { lowerDirs })).status).toEqual(exited(127));
    expect((await bench.run(["/etc"], { lowerDirs })).status).toEqual(exited(126));
  });

  test("PATH is searched in order, past what may not be executed", async () => {
    const layer = bench.layer();
    writeFileSync(join(layer, "here"), "#!/bin/sh\necho first\n", { mode: 0o644 });
    const lowerDirs = [layer, bench.base];
    expect(
      (await bench.run(["echo", "found"], { env: { PATH: "/nowhere:/etc/passwd:/:/bin" } })).stdout,
    ).toBe("found\n");
    expect((await bench.run(["here"], { lowerDirs, env: { PATH: "/:/bin" } })).status).toEqual(exited(126));
  });

  test("P4: closing its streams first does not change how it ended", async () => {
    expect((await bench.sh("exec >&- 2>&- <&-; exit 3")).status).toEqual(exited(3));
  });
});

describe("what a process sees", () => {
  test("exactly its own environment (X03, C19)", async () => {
    process.env["CANARY"] = "host";
    try {
      const { stdout } = await bench.run(["env"], {
        env: { PATH, A: "ä b=c", EMPTY: "", NODE_OPTIONS: "--require=/e.js" },
      });
      expect(stdout.trim().split("\n").toSorted()).toEqual([
        "A=ä b=c",
        "EMPTY=",
        "NODE_OPTIONS=--require=/e.js",
        `PATH=${PATH}`,
      ]);
      expect((await bench.sh("cat /proc/*/environ")).stdout).not.toContain("CANARY");
    } finally {
      delete process.env["CANARY"];
    }
  });

  test("itself as process 1, alone", async () => {
    const { stdout } = await bench.sh("echo $$; echo /proc/[0-9]*");
    expect(stdout).toBe("1\n/proc/1\n");
  });

  test("descriptors 0, 1 and 2 only (C08)", async () => {
    // The shell first opens the background command's stdin anew: what counts is what the command itself has.
    const settled = 'until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done';
    const { stdout } = await bench.sh(
      `sleep 9 & ${settled}; for f in /proc/$!/fd/*; do echo \${f##*/}; done`,
    );
    expect(stdout.trim().split("\n")).toEqual(["0", "1", "2"]);
  });

  test("no signal ignored or blocked", async () => {
    const { stdout } = await bench.run(["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    expect(stdout.match(/0000000000000000/g)).toHaveLength(3);
  });

  test("its host name, its loopback interface, and no other (network none)", async () => {
    const { stdout } = await bench.sh("hostname; ls /sys/class/net; ip -o link show lo", {
      hostname: "builder-1",
    });
    expect(stdout).toMatch(/^builder-1\nlo\n1: lo: <LOOPBACK,UP/);
  });

  test("the host's interfaces with network host", async () => {
    const { stdout } = await bench.sh("cat /proc/net/dev | wc -l", { network: "host" });
    expect(Number(stdout)).toBeGreaterThanOrEqual(3);
  });

  test("umask 022, no core files, a sane number of open files", async () => {
    const { stdout } = await bench.sh("umask; ulimit -c; ulimit -n; touch /f; stat -c %a /f");
    const [umask, core, files, mode] = stdout.trim().split("\n");
    expect([umask, core, mode]).toEqual(["0022", "0", "644"]);
    expect(Number(files)).toBeGreaterThanOrEqual(256);
    expect(Number(files)).toBeLessThanOrEqual(65536);
  });

  test("working directories: as given, made when missing, kept out of the upper when there", async () => {
    const made = await bench.sh("pwd; stat -c '%a %u:%g' .", { cwd: "/srv/app/x" });
    expect(made.stdout).toBe("/srv/app/x\n755 0:0\n");
    expect(made.upper).toEqual(["srv", "srv/app", "srv/app/x"]);
    expect((await bench.sh("pwd", { cwd: "/etc" })).upper).toEqual([]);
    await expect(bench.sh("pwd", { cwd: "/etc/passwd" })).rejects.toThrow(
      /working directory.*\/etc\/passwd.*ENOTDIR/,
    );
  });
});

describe("user and group ids", () => {
  test("an ordinary user has no capability but the bounding set; groups are as given", async () => {
    const { stdout } = await bench.sh("id -u; id -g; id -G; grep Cap /proc/self/status", {
      uid: 33,
      gid: 34,
      groups: [7, 8],
    });
    const [uid, gid, groups, ...caps] = stdout.trim().split("\n");
    expect([uid, gid]).toEqual(["33", "34"]);
    expect(groups?.split(" ").toSorted()).toEqual(["34", "7", "8"]);
    expect(caps.map((line) => line.replace(/\s+0*/, " "))).toEqual([
      "CapInh: ",
      "CapPrm: ",
      "CapEff: ",
      "CapBnd: 800405fb",
      "CapAmb: ",
    ]);
  });

  test("the largest ids", async () => {
    const { stdout } = await bench.sh("id -u; id -g", { uid: 2 ** 32 - 2, gid: 2 ** 32 - 2 });
    expect(stdout).toBe("4294967294\n4294967294\n");
  });

  test("capabilities can be chosen", async () => {
    const { stdout } = await bench.run(["grep", "CapEff", "/proc/self/status"], {
      security: withCapabilities("CAP_CHOWN", "CAP_NET_RAW"),
    });
    expect(stdout).toMatch(/0000000000002001/);
  });

  testX64("setuid programs work: no_new_privs is off", async () => {
    const layer = bench.layer();
    const setreuid = syscallProgram(113, [0, 0]);
    for (const [name, mode] of [
      ["plain", 0o755],
      ["setuid", 0o4755],
    ] as const) {
      writeFileSync(join(layer, name), setreuid);
      chmodSync(join(layer, name), mode);
    }
    const as = { uid: 33, gid: 33, lowerDirs: [layer, bench.base] };
    expect((await bench.run(["/plain"], as)).status).toEqual(exited(1));
    expect((await bench.run(["/setuid"], as)).status).toEqual(exited(0));
    expect((await bench.run(["grep", "NoNewPrivs", "/proc/self/status"], as)).stdout).toMatch(/\s0\n/);
  });
});

describe("streams", () => {
  test("stdout and stderr are pipes that can be opened again", async () => {
    const { stdout, stderr } = await bench.sh(
      "echo a > /dev/stdout; echo b > /dev/stderr; echo c >> /proc/self/fd/1",
    );
    expect([stdout, stderr]).toEqual(["a\nc\n", "b\n"]);
  });

  test("an ordinary user may open them again, too", async () => {
    const script = "echo a > /dev/stdout; echo b > /dev/stderr; cat /dev/stdin";
    const { stdout, stderr } = await bench.sh(script, { uid: 33, gid: 33, stdin: Buffer.from("c") });
    expect([stdout, stderr]).toEqual(["a\nc", "b\n"]);
  });

  test("stdin: nothing, or the bytes given", async () => {
    expect((await bench.run(["cat"])).stdout).toBe("");
    expect((await bench.run(["cat"], { stdin: Buffer.from("héllo\0x") })).stdout).toBe("héllo\0x");
    const large = Buffer.alloc(3 << 20, "0123456789abcdef");
    expect((await bench.run(["wc", "-c"], { stdin: large })).stdout).toBe(`${large.length}\n`);
    expect((await bench.run(["wc", "-c"], { stdin: Buffer.alloc(0) })).stdout).toBe("0\n");
  });

  test("output comes while the process runs, and in order", async () => {
    const seen: string[] = [];
    const controller = new AbortController();
    const plan = bench.plan(["/bin/sh", "-c", "echo one; read x < /fifo-that-is-not; echo two; sleep 100"]);
    const ended = bench.sandbox.run(plan, {
      signal: controller.signal,
      onOutput: (stream, chunk) => {
        if (stream === "stdout") seen.push(Buffer.from(chunk).toString());
        if (seen.join("") === "one\ntwo\n") controller.abort();
      },
    });
    await expect(ended).rejects.toSatisfy((error) => hasCode(error, "aborted"));
    expect(seen.join("")).toBe("one\ntwo\n");
  });

  test("a slow reader holds the process back and loses nothing", async () => {
    let total = 0;
    let running = 0;
    let overlapped = false;
    const plan = bench.plan([
      "/bin/sh",
      "-c",
      "dd if=/dev/zero bs=64k count=64; dd if=/dev/zero bs=64k count=64 >&2",
    ]);
    const status = await bench.sandbox.run(plan, {
      signal: new AbortController().signal,
      onOutput: async (_stream, chunk) => {
        running += 1;
        overlapped ||= running > 1;
        await new Promise((resolve) => setTimeout(resolve, 1));
        total += chunk.length;
        running -= 1;
      },
    });
    expect(status).toEqual(exited(0));
    expect(total).toBeGreaterThanOrEqual(128 * 65536);
    expect(overlapped).toBe(false);
  });

  test("what onOutput throws ends the process and comes out", async () => {
    const plan = bench.plan(["/bin/sh", "-c", "echo x; sleep 100"]);
    const run = bench.sandbox.run(plan, {
      signal: new AbortController().signal,
      onOutput: () => {
        throw new Error("disk full");
      },
    });
    await expect(run).rejects.toThrow("disk full");
    expect((await bench.sh("echo again")).stdout).toBe("again\n");
  });
});

describe("plans that no driver may execute", () => {
  test.each([
    ["a NUL", { env: { A: "x\0y" } }, /NUL/],
    ["an = in a name", { env: { "A=B": "x" } }, /name of a variable/],
    ["a relative working directory", { cwd: "x" }, /not absolute/],
    ["uid -1", { uid: -1 }, /user or group id/],
    ["uid 2^32-1, which means unchanged", { uid: 2 ** 32 - 1 }, /user or group id/],
    ["gid 1.5", { gid: 1.5 }, /user or group id/],
    ["an unknown capability", { security: withCapabilities("CAP_NOPE") }, /unknown capability CAP_NOPE/],
    ["no command", { argv: [] }, /no command/],
  ])("%s", async (_name, changes, message) => {
    const run = bench.run(["true"], changes);
    await expect(run).rejects.toSatisfy((error) => hasCode(error, "usage"));
    await expect(bench.run(["true"], changes)).rejects.toThrow(message);
  });

  test("a mount source that is missing", async () => {
    const mounts = [{ type: "bind", source: "/no/such/place", target: "/x", readOnly: true }] as const;
    await expect(bench.run(["true"], { mounts })).rejects.toSatisfy((error) => hasCode(error, "not-found"));
  });

  test("a rootfs that cannot be mounted names the call", async () => {
    const plan = bench.plan(["true"], { lowerDirs: [join(bench.dir, "missing")] });
    const run = bench.sandbox.run(plan, { signal: new AbortController().signal });
    await expect(run).rejects.toThrow(
      "cannot mount the root file system: mount overlay: no such file or directory (ENOENT)",
    );
  });
});

test("the base is never written to", () => {
  expect(() => statSync(join(bench.base, "srv"))).toThrow(/ENOENT/);
});
