import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  acquireLease,
  acquireLeaseAsync,
  claimOwner,
  leaseHolder,
  ownerIsAlive,
  pidOf,
  releaseDead,
  stagedDirectory,
  stagedPath,
  sweep,
} from "../../src/fs/index.js";
import type { LeaseOptions, Owner } from "../../src/fs/index.js";

let bundles: string;
let child: string;
let dir: string;
let tmp: string;
let locks: string;
let owner: Owner;
beforeAll(async () => {
  bundles = mkdtempSync(join(tmpdir(), "cooper-bundle-"));
  child = join(bundles, "child.mjs");
  const entryPoints = [join(import.meta.dirname, "owner-child.ts")];
  await build({
    entryPoints,
    outfile: child,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    logLevel: "error",
  });
});
afterAll(() => rmSync(bundles, { recursive: true, force: true }));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-lease-"));
  tmp = join(dir, "tmp");
  locks = join(dir, "locks");
  for (const path of [tmp, locks]) mkdirSync(path);
  owner = claimOwner(locks);
});
afterEach(() => {
  owner.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const options = (more: Partial<LeaseOptions> = {}): LeaseOptions => ({
  owner,
  socketDir: locks,
  tempDir: tmp,
  waitMs: 0,
  what: "the thing",
  ...more,
});

/** Starts a child that holds something; resolves when it does. */
async function startHolder(
  prefix: readonly string[] = [],
): Promise<{ readonly process: ChildProcess; readonly token: string; end(): Promise<void> }> {
  const [command, ...args] = [...prefix, process.execPath, child, dir, "hold"];
  const running = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const token = await new Promise<string>((resolve, reject) => {
    running.stdout?.setEncoding("utf8").once("data", (text: string) => resolve(text.trim()));
    running.once("exit", () => reject(new Error("the holder ended")));
  });
  const end = async (): Promise<void> => {
    const gone = new Promise((resolve) => running.once("exit", resolve));
    running.kill("SIGKILL");
    await gone;
  };
  return { process: running, token, end };
}

describe("a lease", () => {
  test("has one holder at a time", () => {
    const path = join(locks, "it");
    expect(leaseHolder(path)).toBeUndefined();
    const lease = acquireLease(path, options());
    expect(leaseHolder(path)).toBe(owner.token);
    const second = claimOwner(locks);
    expect(() => acquireLease(path, options({ owner: second }))).toThrow(
      expect.objectContaining({ code: "in-use", message: `the thing is held by process ${process.pid}` }),
    );
    lease[Symbol.dispose]();
    lease[Symbol.dispose]();
    using _again = acquireLease(path, options({ owner: second }));
    // Too late: the lease is another's now.
    lease[Symbol.dispose]();
    expect(leaseHolder(path)).toBe(second.token);
    expect(readdirSync(tmp)).toEqual([]);
  });

  test("is waited for", async () => {
    const path = join(locks, "it");
    const lease = acquireLease(path, options());
    setTimeout(() => lease[Symbol.dispose](), 50);
    const second = claimOwner(locks);
    using later = await acquireLeaseAsync(path, options({ owner: second, waitMs: 10_000 }));
    expect(later.path).toBe(path);
    await expect(
      acquireLeaseAsync(path, options({ waitMs: 10_000 }), AbortSignal.timeout(20)),
    ).rejects.toMatchObject({ code: "aborted" });
  });

  test("F09: whose holder is dead is taken over; one that makes no sense too", async () => {
    const path = join(locks, "it");
    const holder = await startHolder();
    expect(leaseHolder(path)).toBe(holder.token);
    expect(() => acquireLease(path, options())).toThrow(expect.objectContaining({ code: "in-use" }));
    await holder.end();
    acquireLease(path, options())[Symbol.dispose]();
    mkdirSync(path);
    for (const junk of ["junk", "1-2-3", "🔒"]) writeFileSync(join(path, junk), "");
    acquireLease(path, options())[Symbol.dispose]();
    expect(existsSync(path)).toBe(false);
  });

  test("F09: of a pid that was used again is taken over", () => {
    const path = join(locks, "it");
    mkdirSync(path);
    const [pid = "", , ...rest] = owner.token.split("-");
    writeFileSync(join(path, [pid, "1", ...rest].join("-")), "");
    expect(releaseDead(path, locks)).toBe(true);
    const [, start = "", namespace = "", , random = ""] = owner.token.split("-");
    expect(ownerIsAlive([pid, start, namespace, "0123456789ab", random].join("-"), locks, locks)).toBe(false);
    expect(ownerIsAlive(owner.token, locks, locks)).toBe(true);
    expect(pidOf(owner.token)).toBe(process.pid);
  });

  test("K4: of a stopped process stays its own", async () => {
    const holder = await startHolder();
    holder.process.kill("SIGSTOP");
    expect(() => acquireLease(join(locks, "it"), options({ waitMs: 100 }))).toThrow(
      expect.objectContaining({
        code: "in-use",
        message: expect.stringContaining(String(holder.process.pid)),
      }),
    );
    await holder.end();
  });

  test("K1: fought over by many processes, some of which die with it, is never held twice", async () => {
    const run = (dieAt: number) =>
      new Promise<{ readonly status: number | null; readonly stderr: string }>((resolve) => {
        const running = spawn(process.execPath, [child, dir, "count", String(dieAt)], {
          stdio: ["ignore", "ignore", "pipe"],
        });
        let stderr = "";
        running.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
        running.once("close", (status) => resolve({ status, stderr }));
      });
    const endings = await Promise.all([0, 0, 0, 10, 20, 30].map(run));
    expect(endings.map(({ stderr }) => stderr)).toEqual(endings.map(() => ""));
    expect(endings.map(({ status }) => status)).toEqual([0, 0, 0, null, null, null]);
  });
});

describe("temporary directories", () => {
  test("are private, and gone when they are disposed, whatever was put into them", async () => {
    let path: string;
    {
      await using staged = stagedDirectory(tmp, owner);
      ({ path } = staged);
      expect(execFileSync("stat", ["-c", "%a", path], { encoding: "utf8" }).trim()).toBe("700");
      mkdirSync(join(path, "a/b"), { recursive: true });
    }
    expect(existsSync(path)).toBe(false);
  });

  test("of the living are left alone, of the dead swept, with what is nobody's", async () => {
    await using mine = stagedDirectory(tmp, owner);
    writeFileSync(stagedPath(tmp, owner), "mine");
    const holder = await startHolder();
    for (const junk of ["junk", "..data", "1-2"]) writeFileSync(join(tmp, junk), "");
    expect(await sweep(tmp, locks)).toBe(3);
    expect(readdirSync(tmp).length).toBe(3);
    await holder.end();
    expect(await sweep(tmp, locks)).toBe(1);
    expect(existsSync(mine.path)).toBe(true);
    expect(readdirSync(tmp).every((name) => name.startsWith(owner.token))).toBe(true);
  });

  test("of a process that is dead but was not waited for yet are swept", async () => {
    // The shell does not wait for its child before it execs into sleep, so the child stays a zombie.
    const script = `"$1" "$2" "$3" hold & pid=$!; while [ ! -e "$3/locks/it" ]; do sleep 0.05; done; kill -9 $pid; exec sleep 1000`;
    const zombie = spawn("sh", ["-c", script, "sh", process.execPath, child, dir], { stdio: "ignore" });
    try {
      const judged = () =>
        spawnSync(process.execPath, [child, dir, "judge", "x"], { encoding: "utf8" }).stdout.trim();
      await expect.poll(() => readdirSync(tmp).length, { timeout: 20_000 }).toBe(1);
      await expect.poll(judged, { timeout: 20_000, interval: 200 }).toBe("false false 1");
    } finally {
      const gone = new Promise((resolve) => zombie.once("exit", resolve));
      zombie.kill("SIGKILL");
      await gone;
    }
  });
});

describe("containers that share a directory", () => {
  const container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

  test("do not take each other for dead, and notice when one is", async () => {
    const inside = await startHolder(container);
    expect(pidOf(inside.token)).toBe(1);
    expect(ownerIsAlive(inside.token, locks, join(dir, "missing"))).toBe(true);
    expect(await sweep(tmp, locks)).toBe(0);
    expect(() => acquireLease(join(locks, "it"), options())).toThrow(
      expect.objectContaining({ code: "in-use" }),
    );
    await inside.end();
    await expect.poll(() => ownerIsAlive(inside.token, locks, locks)).toBe(false);
    expect(await sweep(tmp, locks)).toBe(1);
    acquireLease(join(locks, "it"), options())[Symbol.dispose]();
  });

  test("see those outside too, even when these are stopped", async () => {
    const outside = await startHolder();
    outside.process.kill("SIGSTOP");
    const judge = (): string => {
      const [command, ...args] = [...container, process.execPath, child, dir, "judge", outside.token];
      return spawnSync(command, args, { encoding: "utf8" }).stdout.trim();
    };
    expect(judge()).toBe("true true 0");
    await outside.end();
    expect(judge()).toBe("false false 1");
  });

  test("give those whom nobody can ask a day", () => {
    const [pid = "", start = "", , boot = "", random = ""] = owner.token.split("-");
    const foreign = [pid, start, "1", boot, random].join("-");
    const path = join(locks, "touched");
    writeFileSync(path, "");
    expect(ownerIsAlive(foreign, locks, path)).toBe(true);
    execFileSync("touch", ["-d", "2 days ago", path]);
    expect(ownerIsAlive(foreign, locks, path)).toBe(false);
  });
});
