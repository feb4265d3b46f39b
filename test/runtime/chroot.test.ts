import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_LIMITS, DEFAULT_SECURITY, openChrootSandbox } from "../../src/runtime/index.js";
import type {
  ExitStatus,
  RestoredFile,
  Sandbox,
  SandboxMount,
  SandboxPlan,
} from "../../src/runtime/index.js";
import { bundleProgram, busyboxRoot, childPath, exited, requireSandbox } from "./support.js";

interface Result {
  readonly status: ExitStatus;
  readonly stdout: string;
  readonly stderr: string;
  readonly restored: readonly RestoredFile[];
}

let dir: string;
let root: string;
let sandbox: Sandbox;

function planOf(script: string, changes: Partial<SandboxPlan> = {}, told: RestoredFile[] = []): SandboxPlan {
  return {
    rootfs: { kind: "directory", dir: root, restored: (files) => void told.push(...files) },
    argv: ["/bin/sh", "-c", script],
    env: { PATH: "/bin" },
    cwd: "/",
    uid: 0,
    gid: 0,
    groups: [],
    hostname: "bench",
    network: "host",
    mounts: [],
    devices: [],
    security: DEFAULT_SECURITY,
    limits: DEFAULT_LIMITS,
    stdin: "null",
    stdio: "pipe",
    ...changes,
  };
}

async function sh(
  script: string,
  changes: Partial<SandboxPlan> = {},
  signal = new AbortController().signal,
): Promise<Result> {
  const restored: RestoredFile[] = [];
  const chunks: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
  const status = await sandbox.run(planOf(script, changes, restored), {
    signal,
    onOutput: (stream, chunk) => void chunks[stream].push(chunk),
  });
  const text = (stream: "stdout" | "stderr"): string => Buffer.concat(chunks[stream]).toString("utf8");
  return { status, stdout: text("stdout"), stderr: text("stderr"), restored };
}

function secretAt(
  target: string,
  changes: Partial<Extract<SandboxMount, { type: "secret" }>> = {},
): SandboxMount {
  const content = Buffer.from("hush, hush 4711");
  return { type: "secret", target, content, readOnly: true, mode: 0o600, uid: 0, gid: 0, ...changes };
}

/** Everything about a tree that a layer could hold, and its inodes. */
function listing(): string {
  return execFileSync("find", [root, "-printf", "%P %y %m %U:%G %T@ %i %s %l\n"], { encoding: "utf8" })
    .replace(/^(.* d .*) \d+ $/gm, "$1")
    .split("\n")
    .toSorted()
    .join("\n");
}

/** Inodes whose change time moved since `before` (by inode), but for those that were told. */
function surprises(
  before: ReadonlyMap<string, string>,
  restored: readonly RestoredFile[],
): readonly string[] {
  const told = new Map(restored.map(({ inode, changed }) => [inode, changed]));
  return [...changeTimes()].flatMap(([path, changed]) => {
    const { ino } = lstatSync(join(root, path), { bigint: true });
    return before.get(path) === changed || told.get(String(ino)) === changed ? [] : [path];
  });
}

function changeTimes(): ReadonlyMap<string, string> {
  const paths = execFileSync("find", [root, "-printf", "%P\n"], { encoding: "utf8" }).trimEnd().split("\n");
  return new Map(paths.map((path) => [path, String(lstatSync(join(root, path), { bigint: true }).ctimeNs)]));
}

function processes(marker: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(marker);
    } catch {
      return false;
    }
  });
}

beforeEach(() => {
  requireSandbox();
  dir = mkdtempSync(join(tmpdir(), "cooper-chroot-"));
  root = join(dir, "stage/root");
  mkdirSync(root, { recursive: true });
  busyboxRoot(root);
  sandbox = openChrootSandbox({ childPath, scratchDir: dir, userNamespace: false });
});

afterEach(async () => {
  await sandbox[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const bind = (
  source: string,
  target: string,
  rest: Partial<Extract<SandboxMount, { type: "bind" }>> = {},
): SandboxMount => ({
  type: "bind",
  source,
  target,
  readOnly: true,
  ...rest,
});

describe("a process by chroot", () => {
  test("runs in its root, as its user, with its environment and working directory", async () => {
    const result = await sh('id -u; id -g; pwd; echo "$A"; ls /; umask; cat', {
      uid: 33,
      gid: 33,
      cwd: "/work/deep",
      env: { PATH: "/bin", A: "b" },
      stdin: Buffer.from("given"),
    });
    expect(result).toMatchObject({ status: exited(0), stderr: "" });
    expect(result.stdout).toBe("33\n33\n/work/deep\nb\nbin\ndev\netc\nproc\nsys\ntmp\nwork\n0022\ngiven");
    expect(existsSync(join(root, "work/deep"))).toBe(true);
    expect((await sh("exit 3")).status).toEqual(exited(3));
    expect((await sh("kill -9 $$")).status).toEqual({ kind: "killed", signal: "SIGKILL" });
    expect((await sh("", { argv: ["nothing"] })).status).toEqual(exited(127));
  });

  test("cannot leave its root, and root keeps no right to change it", async () => {
    const result = await sh(
      "chroot . true; echo $?; ls -d /../../etc/passwd; cat /../../../etc/hostname; mknod x c 1 3; echo $?",
    );
    expect(result.stdout).toMatch(/^[^0]\d*\n\/\.\.\/\.\.\/etc\/passwd\n/);
    expect(result.stderr).toContain("Operation not permitted");
    const suid = await sh("cat /proc/self/status; ls /proc /sys");
    expect(suid.stdout).not.toContain("CapEff");
  });

  test("has devices, and none of them stays", async () => {
    const before = listing();
    const result = await sh(
      "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; ls -l /dev | grep -c ^c; touch /dev/shm/x /dev/own; readlink /dev/fd; echo y > /dev/full",
    );
    expect(result.stdout).toBe("3\n3\n6\n/proc/self/fd\n");
    expect(result.stderr).toContain("No space left");
    expect(listing()).toBe(before);
  });

  test.each([0, 33])("user %i may open its streams by their names, in order with the rest", async (uid) => {
    const before = listing();
    const script =
      "cat /dev/stdin; echo 1; echo 2 > /dev/stdout; echo 3; echo 4 >> /dev/stdout; (sleep 0.1; echo 5 | tee /dev/stderr); echo e > /dev/stderr";
    const result = await sh(script, { uid, gid: uid });
    expect([result.stdout, result.stderr]).toEqual(["1\n2\n3\n4\n5\n", "5\ne\n"]);
    expect(listing()).toBe(before);
    expect((await sh("sleep 0.1; echo again > /dev/stdout", { uid })).stdout).toBe("again\n");
    await sandbox[Symbol.asyncDispose]();
    expect(readdirSync(dir)).toEqual(["stage"]);
  });

  test("leaves nothing of what was lent, and the snapshot is told", async () => {
    symlinkSync("../run/resolv.conf", join(root, "etc/resolv.conf"));
    mkdirSync(join(root, "run"));
    writeFileSync(join(root, "run/resolv.conf"), "the image's own");
    writeFileSync(join(root, "etc/hosts"), "hosts of the image");
    mkdirSync(join(root, "dev"));
    writeFileSync(join(root, "dev/kept"), "");
    for (const name of ["hosts", "resolv.conf", "script"]) writeFileSync(join(dir, name), `our ${name}`);
    mkdirSync(join(dir, "context/sub"), { recursive: true });
    writeFileSync(join(dir, "context/sub/file"), "of the context");
    const before = listing();
    const times = changeTimes();
    const result = await sh(
      "cat /etc/hosts /etc/resolv.conf /run/secrets/deep/s /mnt/c/sub/file /opt/script; ls -ld /run/secrets/deep/s /cache /t; echo written > /mnt/c/new",
      {
        mounts: [
          bind(join(dir, "hosts"), "/etc/hosts"),
          bind(join(dir, "resolv.conf"), "/etc/resolv.conf"),
          secretAt("/run/secrets/deep/s", { mode: 0o400, uid: 5, gid: 6 }),
          bind(join(dir, "context"), "/mnt/c"),
          bind(join(dir, "script"), "/opt/script"),
          { type: "tmpfs", target: "/cache" },
          { type: "tmpfs", target: "/t", mode: 0o700 },
        ],
      },
    );
    expect(result.stderr).toBe("");
    expect(result.stdout).toContain("our hostsour resolv.confhush, hush 4711of the contextour script");
    expect(result.stdout).toMatch(/-r--------\s+1 5\s+6 /);
    expect(listing()).toBe(before);
    expect(surprises(times, result.restored)).toEqual([]);
    expect(readdirSync(join(dir, "stage"))).toEqual(["root"]);
    expect(readdirSync(join(dir, "context"))).toEqual(["sub"]);
  });

  test("what it changes itself stays, beside what was lent", async () => {
    writeFileSync(join(dir, "hosts"), "ours");
    const { mtimeMs } = lstatSync(join(root, "etc"));
    await sh("echo 1 > /etc/new; chmod 700 /etc; touch /opt/kept; echo 2 > /run/mine", {
      mounts: [
        bind(join(dir, "hosts"), "/etc/hosts"),
        bind(join(dir, "hosts"), "/opt/lent"),
        bind(join(dir, "hosts"), "/run/lent"),
      ],
    });
    expect(lstatSync(join(root, "etc")).mtimeMs).toBeGreaterThan(mtimeMs);
    expect(readdirSync(join(root, "etc")).toSorted()).toEqual(["group", "new", "passwd"]);
    expect(readdirSync(join(root, "opt"))).toEqual(["kept"]);
    expect(readFileSync(join(root, "run/mine"), "utf8")).toBe("2\n");
  });

  test("nothing outside is touched, whatever links a step leaves in the places that were lent", async () => {
    mkdirSync(join(dir, "victim"));
    writeFileSync(join(dir, "victim/hosts"), "precious");
    writeFileSync(join(dir, "hosts"), "ours");
    const result = await sh(
      `mv /etc /moved; ln -s ${dir}/victim /etc; rm -rf /dev; ln -s ${dir}/victim /dev; rm -rf /mnt; ln -s ../../victim /mnt`,
      { mounts: [bind(join(dir, "hosts"), "/etc/hosts"), { type: "tmpfs", target: "/mnt/a/b" }] },
    );
    expect(result.status).toEqual(exited(0));
    expect(readFileSync(join(dir, "victim/hosts"), "utf8")).toBe("precious");
    expect(readdirSync(join(dir, "victim"))).toEqual(["hosts"]);
    expect(readdirSync(join(root, "moved")).toSorted()).toEqual(["group", "passwd"]);
  });

  test("a secret that a step hides elsewhere is emptied", async () => {
    const secret = secretAt("/run/s", { readOnly: false });
    await sh("ln /run/s /hidden; exit 1", { mounts: [secret] });
    expect(readFileSync(join(root, "hidden"), "utf8")).toBe("");
    expect(spawnSync("grep", ["-rq", "hush 4711", root]).status).toBe(1);
  });

  test("a secret that a step prints is read before it is emptied, however slow the reader is", async () => {
    const secret = secretAt("/run/s");
    let text = "";
    // More than a reader takes ahead, and less than it takes ahead and the pipe holds.
    const script = "head -c 90000 /dev/zero; cat /run/s";
    await sandbox.run(planOf(script, { mounts: [secret] }, []), {
      signal: new AbortController().signal,
      onOutput: async (_stream, chunk) => {
        if (text === "") await new Promise((resolve) => setTimeout(resolve, 400));
        text += Buffer.from(chunk).toString("latin1");
      },
    });
    expect(text.slice(90000)).toBe("hush, hush 4711");
  });

  test("a cache comes and goes, and two steps never have it at once", async () => {
    const cache = join(dir, "cache");
    mkdirSync(cache, { mode: 0o755 });
    writeFileSync(join(cache, "old"), "1");
    const mounts = [bind(cache, "/var/cache/x", { readOnly: false, movable: true })];
    const step = (n: number): Promise<Result> =>
      sh(
        `cd /var/cache/x; cat old; test -e busy && echo CLASH; touch busy; sleep 0.3; rm busy; echo ${n} > n${n}`,
        { mounts },
      );
    const first = step(1);
    const otherRoot = root;
    root = join(dir, "stage2/root");
    mkdirSync(root, { recursive: true });
    busyboxRoot(root);
    const second = step(2);
    const results = await Promise.all([first, second]);
    expect(results.map(({ stdout, stderr }) => stdout + stderr)).toEqual(["1", "1"]);
    expect(readdirSync(cache).toSorted()).toEqual(["n1", "n2", "old"]);
    for (const each of [root, otherRoot]) expect(existsSync(join(each, "var"))).toBe(false);
    await sh("rm /c/old; chmod 700 /c; exit 1", {
      mounts: [bind(cache, "/c", { readOnly: false, movable: true })],
    });
    expect(readdirSync(cache).toSorted()).toEqual(["n1", "n2"]);
    expect(lstatSync(cache).mode & 0o777).toBe(0o700);
  });

  test("a socket is reached under its new name", async () => {
    const path = join(dir, "socket");
    const server = createServer((socket) => socket.end("hello from outside")).listen(path);
    try {
      const result = await sh("nc local:/run/agent < /dev/null || nc -U /run/agent", {
        mounts: [bind(path, "/run/agent")],
      });
      expect(existsSync(join(root, "run"))).toBe(false);
      expect(existsSync(path)).toBe(true);
      expect(result.stdout + result.stderr).toMatch(
        /hello from outside|unrecognized option|bad address|invalid option/,
      );
    } finally {
      server.close();
    }
  });

  test("what it left running is dead when it has ended", async () => {
    const marker = `2718281${process.pid}`;
    const started = await sh(
      `sleep ${marker} & (setsid sh -c 'sleep ${marker} & (sleep ${marker} &)' &); (trap '' TERM HUP; sleep ${marker}) & sleep 0.2; exit 5`,
    );
    expect(started.status).toEqual(exited(5));
    expect(processes(marker)).toEqual([]);
  });

  test("an abort ends the whole tree, and what was lent is back", async () => {
    const marker = `3141592${process.pid}`;
    const before = listing();
    const controller = new AbortController();
    const running = sh(`trap '' TERM; setsid sleep ${marker} & sleep ${marker}`, {}, controller.signal);
    running.catch(() => undefined);
    while (processes(marker).length < 2) await sleep(20);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: "aborted" });
    expect(processes(marker)).toEqual([]);
    expect(listing()).toBe(before);
    expect((await sh("echo again")).stdout).toBe("again\n");
  });

  test("when cooper dies, its process goes and its caches come back", async () => {
    const marker = `1618033${process.pid}`;
    const cache = join(dir, "cache");
    mkdirSync(cache);
    writeFileSync(join(cache, "kept"), "");
    const plan = planOf(`sleep ${marker}`, {
      mounts: [bind(cache, "/c", { readOnly: false, movable: true })],
    });
    const program = await bundleProgram(
      dir,
      `import { openChrootSandbox } from "./src/runtime/index.js";
       const sandbox = openChrootSandbox(${JSON.stringify({ childPath, scratchDir: dir, userNamespace: false })});
       const plan = ${JSON.stringify(plan)};
       plan.rootfs.restored = () => undefined;
       await sandbox.run(plan, { signal: new AbortController().signal });`,
    );
    const child = spawn(process.execPath, [program], { stdio: "ignore" });
    while (processes(marker).length < 1) await sleep(20);
    expect(readdirSync(cache)).toEqual([]);
    child.kill("SIGKILL");
    while (processes(marker).length > 0 || readdirSync(cache).length === 0) await sleep(20);
    expect(readdirSync(cache)).toEqual(["kept"]);
    while (
      processes("chroot-child.cjs").some((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(dir))
    )
      await sleep(20);
  });

  test("a working directory that leads out is refused, and a link inside is followed", async () => {
    symlinkSync("/tmp", join(root, "link"));
    expect((await sh("pwd", { cwd: "/link" })).stdout).toBe("/tmp\n");
    symlinkSync("/etc/passwd", join(root, "file"));
    await expect(sh("pwd", { cwd: "/file" })).rejects.toMatchObject({ code: "sandbox" });
    chmodSync(join(root, "tmp"), 0o1777);
  });

  test("what it cannot do is refused by name", async () => {
    const refused = (changes: Partial<SandboxPlan>): Promise<unknown> =>
      sh("true", changes).catch((error: Error) => error.message);
    expect(await refused({ network: "none" })).toContain("network namespace");
    expect(await refused({ stdio: "tty" })).toContain("terminal");
    expect(await refused({ limits: { ...DEFAULT_LIMITS, memoryBytes: 1 } })).toContain("cgroups");
    expect(await refused({ mounts: [bind(dir, "/x", { readOnly: false })] })).toContain("writable volume");
    expect(await refused({ mounts: [{ type: "tmpfs", target: "/x", sizeBytes: 1 }] })).toContain("tmpfs");
  });
});
