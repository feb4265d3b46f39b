import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundleProgram, busyboxRoot, childPath, requireSandbox } from "./support.js";

/** Two ordinary users: one with subordinate ids, one without. Made and removed by the test, which therefore runs as root. */
const RICH = `cooprich${process.pid % 10000}`;
const POOR = `cooppoor${process.pid % 10000}`;
let dir: string;
let program: string;

function idsOf(user: string): { readonly uid: number; readonly gid: number } {
  const [, , uid, gid] = execFileSync("getent", ["passwd", user], { encoding: "utf8" }).split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

beforeAll(async () => {
  requireSandbox();
  for (const tool of ["useradd", "newuidmap"]) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      throw new Error(`cannot test rootless builds: ${tool} is not installed`);
  }
  dir = mkdtempSync(join(tmpdir(), "cooper-rootless-"));
  execFileSync("useradd", ["--no-create-home", "--shell", "/bin/sh", RICH]);
  execFileSync("useradd", ["--no-create-home", "--shell", "/bin/sh", POOR]);
  execFileSync("usermod", ["--add-subuids", "700000-765535", "--add-subgids", "700000-765535", RICH]);
  const owned = readFileSync("/etc/subuid", "utf8")
    .split("\n")
    .find((line) => line.startsWith(`${POOR}:`));
  if (owned !== undefined) {
    const [, first, count] = owned.split(":").map(Number);
    const range = `${first}-${(first ?? 0) + (count ?? 1) - 1}`;
    execFileSync("usermod", ["--del-subuids", range, "--del-subgids", range, POOR]);
  }
  execFileSync("chmod", ["755", dir]);
  copyFileSync(childPath, join(dir, "sandbox-child.cjs"));
  // One bundle for both roles: as itself it starts the engine; with "inner" it is the engine.
  program = await bundleProgram(
    dir,
    `import { mkdirSync, mkdtempSync } from "node:fs";
    import { DEFAULT_LIMITS, DEFAULT_SECURITY, findRuntime, openOciSandbox, openSandbox, openVerdicts, planRootless, readRights, startRootless } from "./src/runtime/index.js";
    const [role, home, changes] = process.argv.slice(2);
    if (role === "outer") {
      const verdicts = openVerdicts(home + "/probe", readRights(process.env.PATH), "test");
      const { idMap, warning, isRemembered } = await planRootless(verdicts);
      if (process.env.TELL) console.log(idMap + " " + isRemembered);
      if (warning !== undefined) console.log("warning: " + warning);
      const inner = [process.execPath, process.argv[1], "inner", home, changes];
      startRootless(idMap, inner, { stdio: ["inherit", "inherit", "inherit"] }).on("exit", (code) => process.exit(code ?? 1));
    } else {
      const dir = mkdtempSync(home + "/run-");
      for (const name of ["upper", "work"]) mkdirSync(dir + "/" + name);
      const { runtime, ...plan } = JSON.parse(changes);
      const options = { childPath: ${JSON.stringify(join(dir, "sandbox-child.cjs"))}, scratchDir: dir, userNamespace: true };
      const sandbox = runtime === undefined ? openSandbox(options) : openOciSandbox({ ...options, runtime: findRuntime(runtime) });
      try {
        const status = await sandbox.run({
          rootfs: { kind: "overlay", lowerDirs: [home + "/base"], upperDir: dir + "/upper", workDir: dir + "/work" },
          env: { PATH: "/bin" }, cwd: "/", uid: 0, gid: 0, groups: [], hostname: "t", network: "none", mounts: [], devices: [], security: DEFAULT_SECURITY, limits: DEFAULT_LIMITS, stdin: "null", stdio: "inherit",
          ...plan,
        }, { signal: new AbortController().signal });
        console.log("[" + JSON.stringify(status) + "]");
      } catch (error) {
        console.log(error.code + ": " + error.message + " | " + error.hint);
      }
      await sandbox[Symbol.asyncDispose]();
    }`,
  );
  busyboxRoot(join(dir, "base"));
  for (const user of [RICH, POOR]) {
    const home = join(dir, user);
    mkdirSync(home);
    cpSync(join(dir, "base"), join(home, "base"), { recursive: true, verbatimSymlinks: true });
    const { uid, gid } = idsOf(user);
    execFileSync("chown", ["-R", `${uid}:${gid}`, home]);
    chownSync(home, uid, gid);
  }
});

afterAll(() => {
  for (const user of [RICH, POOR]) spawnSync("userdel", [user]);
  rmSync(dir, { recursive: true, force: true });
});

function as(user: string, changes: object, env: NodeJS.ProcessEnv = {}): string {
  const home = join(dir, user);
  const { uid, gid } = idsOf(user);
  const options = {
    uid,
    gid,
    env: { PATH: process.env["PATH"] ?? "", HOME: home, ...env },
    encoding: "utf8" as const,
    cwd: home,
  };
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [program, "outer", home, JSON.stringify(changes)],
    options,
  );
  return stdout + stderr;
}

describe.each([undefined, "crun", "runc"])("with subordinate ids, runtime %s", (runtime) => {
  const sh = (script: string): object => ({ argv: ["/bin/sh", "-c", script], runtime });

  test("mounts: a part of a directory, other layers, a tmpfs and a secret of any mapped owner", () => {
    const home = join(dir, RICH);
    const [upper, work] = [`upper-${runtime}`, `work-${runtime}`];
    for (const name of [upper, work]) {
      mkdirSync(join(home, name));
      execFileSync("chown", [RICH, join(home, name)]);
    }
    const rootfs = {
      kind: "overlay",
      lowerDirs: [join(home, "base")],
      upperDir: join(home, upper),
      workDir: join(home, work),
    };
    const content = Buffer.from("hush\n");
    const text = as(RICH, {
      ...sh("ls /part; ls /layers; touch /layers/x; cat /s; stat -c '%a %u:%g' /s; touch /t/x && ls /t"),
      mounts: [
        { type: "bind", source: join(home, "base"), inside: "/etc", target: "/part", readOnly: true },
        { type: "layers", rootfs, inside: "/etc", target: "/layers", readOnly: false },
        { type: "secret", content, target: "/s", readOnly: true, mode: 0o400, uid: 33, gid: 33 },
        { type: "tmpfs", target: "/t", options: ["noexec"], sizeBytes: 65536 },
      ],
    });
    const files = "group\npasswd\n";
    expect(text).toBe(`${files}${files}hush\n400 33:33\nx\n[{"kind":"exited","code":0}]\n`);
  });

  test("root inside, with the default capabilities, and process 1", () => {
    const text = as(RICH, sh("id; echo $$; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; exit 7"));
    expect(text).toContain("uid=0(root) gid=0(root)");
    expect(text).toMatch(/\n1\nCapEff:\s+00000000800405fb\nNoNewPrivs:\s+0\nSeccomp:\s+2\n/);
    expect(text).toContain('[{"kind":"exited","code":7}]');
    expect(text).not.toContain("warning");
  });

  test("other users and groups", () => {
    const text = as(RICH, { ...sh("id -u; id -g; id -G"), uid: 33, gid: 34, groups: [7] });
    expect(text).toMatch(/^33\n34\n34 7\n/);
  });

  test("owners, whiteouts and opaque directories in the upper directory", () => {
    const text = as(
      RICH,
      sh(
        "touch /f && chown 33:34 /f && rm /etc/passwd && rm -r /tmp && mkdir /tmp && touch /tmp/x && rm -r /etc && mkdir /etc && echo done",
      ),
    );
    expect(text).toContain("done");
    const home = join(dir, RICH);
    const upper = readdirSync(home)
      .map((name) => join(home, name, "upper"))
      .find(
        (path) =>
          readdirSync(join(path, "..")).includes("upper") &&
          path.includes("run-") &&
          readdirSync(path).includes("f"),
      );
    expect(upper).toBeDefined();
    const { uid, gid } = statSync(join(upper ?? "", "f"));
    expect([uid >= 100000, uid, gid]).toEqual([true, gid - 1, gid]);
    expect(readdirSync(upper ?? "").toSorted()).toEqual(["etc", "f", "tmp"]);
  });

  test("the host's network, sysfs and masked files", () => {
    const text = as(RICH, {
      ...sh(
        "ls /sys/class/net | grep -c . ; ls /sys/fs/cgroup | wc -l; wc -c < /proc/keys; touch /sys/x 2>&1",
      ),
      network: "host",
    });
    expect(text).toMatch(/^[1-9]\d*\n0\n0\n/);
    expect(text).toMatch(/Read-only file system/);
  });

  test("a terminal can be had", () => {
    const text = as(RICH, { ...sh("tty; test -t 1 && echo yes"), stdio: "tty" });
    expect(text).toMatch(/\/dev\/pts\/0\r?\nyes/);
  });

  test("SIGKILL of whoever started it leaves nothing", async () => {
    const seconds = `${process.pid}9.55`;
    const { uid, gid } = idsOf(RICH);
    const home = join(dir, RICH);
    const changes = JSON.stringify(
      sh(`trap '' TERM; (setsid sleep ${seconds} &); sleep ${seconds}; sleep 1`),
    );
    const outer = spawn(process.execPath, [program, "outer", home, changes], {
      uid,
      gid,
      env: { PATH: process.env["PATH"] ?? "" },
      stdio: "ignore",
    });
    const mine = (): number =>
      readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(seconds)).length;
    for (let tries = 0; mine() < 4 && tries < 500; tries += 1) await pause(20);
    expect(mine()).toBeGreaterThanOrEqual(4);
    outer.kill("SIGKILL");
    for (let tries = 0; mine() > 0 && tries < 250; tries += 1) await pause(20);
    expect(mine()).toBe(0);
  });
});

describe("with an unshare older than util-linux 2.38", () => {
  const sh = (script: string): object => ({ argv: ["/bin/sh", "-c", script] });

  test("newuidmap is called by cooper itself, and all owners exist", () => {
    const bin = join(dir, "old-bin");
    mkdirSync(bin, { mode: 0o755 });
    const script = `#!/bin/sh\nfor word; do case $word in --map-auto) echo "unshare: unrecognized option '--map-auto'" >&2; exit 1;; --) break;; esac; done\nexec /usr/bin/unshare "$@"\n`;
    writeFileSync(join(bin, "unshare"), script, { mode: 0o755 });
    const env = { PATH: `${bin}:${process.env["PATH"] ?? ""}`, TELL: "1" };
    const text = as(
      RICH,
      sh("chown 5:6 /etc/passwd && stat -c %u:%g /etc/passwd; cut -c -40 /proc/self/gid_map"),
      env,
    );
    expect(text).toMatch(/^newuidmap false\n5:6\n +0 +\d+ +1\n +1 +\d+ +\d+\n/);
    // Other tests add users meanwhile: with that /etc/subuid changes, and what was found out counts no more.
    const again = Array.from({ length: 5 }, () => () => as(RICH, sh("id -u"), env));
    expect(again.some((call) => call().startsWith("newuidmap true\n0\n"))).toBe(true);
  });
});

describe.each([undefined, "crun", "runc"])("without, runtime %s", (runtime) => {
  const sh = (script: string): object => ({ argv: ["/bin/sh", "-c", script], runtime });

  test("root works, and a warning says what does not", () => {
    const text = as(POOR, sh("id -u; echo x > /etc/new; rm /etc/passwd && echo done"));
    expect(text).toMatch(
      /^warning: no subordinate ids for this user in \/etc\/subuid: .*usermod --add-subuids/,
    );
    expect(text).toContain("\n0\ndone\n");
    expect(text).toContain('[{"kind":"exited","code":0}]');
  });

  test("another user is an error that says why", () => {
    expect(as(POOR, { ...sh("id"), uid: 33, gid: 33 })).toMatch(
      /sandbox: cannot become user 33:33: setresgid.*EINVAL.* \| .*\/etc\/subuid/,
    );
  });
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
