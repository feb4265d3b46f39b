import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasCode } from "../../src/errors.js";
import {
  DEFAULT_LIMITS,
  DEFAULT_SECURITY,
  findRuntime,
  readXattrs,
  treeSyscalls,
} from "../../src/runtime/index.js";
import type { SandboxMount } from "../../src/runtime/index.js";
import { seccompSpec } from "../../src/runtime/oci-seccomp.js";
import type { Bench, Finished } from "./support.js";
import { exited, openBench, syscall32Program, syscallProgram, testX64, withCapabilities } from "./support.js";

/** What a runtime adds when it is missing; builds always have it. */
const env = { PATH: "/bin", HOME: "/root" };

describe("finding a runtime", () => {
  test("by name, by path, and by itself", () => {
    const crun = findRuntime("crun");
    expect(crun).toMatchObject({ name: "crun", flags: ["--cgroup-manager=disabled"] });
    expect(findRuntime(crun.path)).toEqual(crun);
    expect(findRuntime()).toEqual(crun);
    expect(findRuntime("runc").version).toMatch(/^runc version /);
  });

  test("what is not there, or not a runtime, is an error that says so", () => {
    for (const name of ["no-such-runtime", "/no/such", "", "./crun", "/etc/passwd"])
      expect(() => findRuntime(name)).toThrow(/does not exist, or cannot be executed/);
    expect(() => findRuntime("/bin/false")).toThrow(/is no OCI runtime/);
  });
});

test("the profile closes what the filter closes, by name", () => {
  const [closed] = seccompSpec(["CAP_CHOWN"], "x64").syscalls;
  expect(closed?.names).toEqual(expect.arrayContaining(["mount", "umount2", "umount", "keyctl", "bpf"]));
  expect(closed?.names).not.toContain("ptrace");
  expect(seccompSpec(["CAP_SYS_ADMIN"], "arm64").syscalls.flatMap(({ names }) => names)).not.toContain(
    "mount",
  );
});

describe.each([undefined, "crun", "runc"])("with runtime %s", (runtime) => {
  let bench: Bench;
  beforeAll(() => {
    bench = openBench(false, runtime);
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const sh = (script: string, changes: Parameters<Bench["sh"]>[1] = {}): Promise<Finished> =>
    bench.sh(script, { env, ...changes });

  describe("how a process ends", () => {
    test.each([0, 1, 125, 126, 127, 137, 255])("exit %i is its own", async (code) => {
      expect(await sh(`exit ${code}`)).toMatchObject({ status: exited(code), stderr: "" });
    });

    testX64("by a signal", async () => {
      // A process that stops itself by SIGKILL from outside of its namespace is what running out of memory looks like.
      const seconds = `${process.pid}4.44`;
      const run = sh(`exec sleep ${seconds}`);
      const victim = await found(seconds);
      process.kill(victim, "SIGKILL");
      expect((await run).status).toEqual({ kind: "killed", signal: "SIGKILL" });
    });

    test("commands that are not found or cannot be executed", async () => {
      const layer = bench.layer();
      writeFileSync(join(layer, "plain"), "#!/bin/sh\n", { mode: 0o644 });
      writeFileSync(join(layer, "junk"), "\x01\x02\x03\x04", { mode: 0o755 });
      writeFileSync(join(layer, "lost"), "#!/no/such/interpreter\n", { mode: 0o755 });
      writeFileSync(join(layer, "only-root"), "#!/bin/sh\n", { mode: 0o700 });
      const changes = { env, lowerDirs: [layer, bench.base] };
      const ends = async (command: string, more = {}): Promise<readonly unknown[]> => {
        const { status, stderr } = await bench.run([command], { ...changes, ...more });
        return [status.kind === "exited" ? status.code : status, stderr];
      };
      expect(await ends("nope")).toEqual([127, 'exec "nope": executable file not found in $PATH\n']);
      expect(await ends("/bin/nope")).toEqual([127, 'exec "/bin/nope": no such file or directory\n']);
      expect(await ends("")).toEqual([127, expect.any(String)]);
      expect(await ends("/plain")).toEqual([126, 'exec "/plain": permission denied\n']);
      expect(await ends("/junk")).toEqual([126, 'exec "/junk": exec format error\n']);
      expect(await ends("/lost")).toEqual([127, 'exec "/lost": no such file or directory\n']);
      expect(await ends("/etc")).toEqual([126, 'exec "/etc": permission denied\n']);
      expect(await ends("/only-root", { uid: 33, gid: 33 })).toEqual([
        126,
        'exec "/only-root": permission denied\n',
      ]);
    });

    test("a command keeps the name it was called by, PATH or not", async () => {
      for (const variables of [env, { HOME: "/" }, { PATH: ":/bin", HOME: "/" }]) {
        const { stdout } = await bench.run(["echo", "found"], { env: variables, cwd: "/tmp" });
        expect(stdout).toBe("found\n");
      }
    });
  });

  describe("what it sees", () => {
    test("identity, environment, umask, limits, signals, descriptors", async () => {
      const { stdout } = await sh(
        `id -u; id -g; id -G; echo $$; hostname; umask; ulimit -c; ulimit -n; env | grep -v SHLVL | sort; pwd
        grep -E '^(Cap|NoNew|Seccomp:|Sig[BI])' /proc/self/status; cat /proc/self/oom_score_adj; echo /proc/[0-9]*`,
      );
      await using native = openBench();
      expect(stdout).toBe(
        (
          await native.sh(
            `id -u; id -g; id -G; echo $$; hostname; umask; ulimit -c; ulimit -n; env | grep -v SHLVL | sort; pwd
        grep -E '^(Cap|NoNew|Seccomp:|Sig[BI])' /proc/self/status; cat /proc/self/oom_score_adj; echo /proc/[0-9]*`,
            { env },
          )
        ).stdout,
      );
      expect(stdout).toMatch(/^0\n0\n0\n1\nbench\n0022\n0\n/);
    });

    test("an ordinary user: groups as given, no capability but the bounding set", async () => {
      const { stdout } = await sh("id -u; id -g; id -G; grep Cap /proc/self/status", {
        uid: 33,
        gid: 34,
        groups: [7, 8],
      });
      expect(stdout).toMatch(
        /^33\n34\n34 7 8\nCapInh:\s+0+\nCapPrm:\s+0+\nCapEff:\s+0+\nCapBnd:\s+00000000800405fb\nCapAmb:\s+0+\n$/,
      );
    });

    test("capabilities as chosen", async () => {
      const { stdout } = await sh("grep Cap /proc/self/status", { security: withCapabilities("CAP_CHOWN") });
      expect(stdout.match(/0000000000000001/g)).toHaveLength(3);
    });

    test("no_new_privs, limits and open files of the kernel as asked for", async () => {
      const limits = [
        { name: "nofile", soft: 100, hard: 200 },
        { name: "fsize", soft: 4096, hard: -1 },
      ];
      const { stdout } = await sh(
        "grep NoNew /proc/self/status; ulimit -n; ulimit -Hn; ulimit -f; ulimit -Hf; wc -c < /proc/keys; ls /sys/fs/cgroup | wc -l",
        {
          security: { ...DEFAULT_SECURITY, noNewPrivileges: true, kernelFiles: "open" },
          limits: { ...DEFAULT_LIMITS, ulimits: limits },
        },
      );
      expect(stdout).toMatch(/^NoNewPrivs:\s+1\n100\n200\n8\nunlimited\n[1-9]/);
    });

    test("a limit of memory and of processes", async () => {
      const limited = (change: object): object => ({ limits: { ...DEFAULT_LIMITS, ...change } });
      const eat = "exec tail /dev/zero";
      const eaten = await sh(eat, limited({ memoryBytes: 64 << 20 }));
      expect(eaten.status).toMatchObject({ kind: "killed", signal: "SIGKILL", outOfMemory: true });
      const forks = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; echo all";
      const bounded = await sh(forks, limited({ pids: { limit: 5, asked: true } }));
      expect([bounded.stdout, bounded.stderr]).toEqual(["", expect.stringMatching(/fork/)]);
      expect((await sh("echo $$", limited({ pids: { limit: 1, asked: true } }))).stdout).toBe("1\n");
    });

    test("devices, hidden files and mounts as the native driver's", async () => {
      const script = `ls -l /dev | awk '{print $1, $(NF-2), $(NF-1), $NF}' | grep -v ^total; ls -ld /dev/shm /dev/pts /dev/mqueue | awk '{print $1}'
        for f in kcore keys timer_list; do wc -c < /proc/$f; done 2>&1; ls /sys/fs/cgroup /sys/firmware /proc/acpi | sort
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/x; do (echo x > $f) 2>&1; done
        awk '{print $5}' /proc/self/mountinfo | sort; awk '$5 == "/" || $5 ~ "^/dev" || $5 ~ "^/(proc|sys)$" {print $5, $6}' /proc/self/mountinfo | sort
        ls /sys/class/net; ip -o link show lo | cut -c1-25`;
      await using native = openBench();
      expect((await sh(script)).stdout).toBe((await native.sh(script, { env })).stdout);
    });

    test("its own working directory, made when missing, wherever links lead", async () => {
      const made = await sh("pwd; stat -c '%a %u:%g' .", { cwd: "/srv/app/x" });
      expect(made.stdout).toBe("/srv/app/x\n755 0:0\n");
      expect(made.upper).toEqual(["srv", "srv/app", "srv/app/x"]);
      expect((await sh("pwd", { cwd: "/proc/sys" })).stdout).toBe("/proc/sys\n");
      expect((await sh("pwd", { cwd: "/dev/shm" })).stdout).toBe("/dev/shm\n");
      await expect(sh("pwd", { cwd: "/etc/passwd" })).rejects.toThrow(
        /working directory.*\/etc\/passwd.*ENOTDIR/,
      );
    });
  });

  describe("the filter", () => {
    const errnoOf = async (program: Buffer, changes = {}): Promise<number | string> => {
      const layer = bench.layer();
      writeFileSync(join(layer, "call"), program, { mode: 0o755 });
      const { status } = await bench.run(["/call"], { env, lowerDirs: [layer, bench.base], ...changes });
      return status.kind === "exited" ? status.code : status.signal;
    };

    const profile = (text: object): object => ({
      security: {
        ...DEFAULT_SECURITY,
        seccomp: { kind: "profile", profile: JSON.stringify(text), path: "/profile.json" },
      },
    });

    testX64("a profile of the user's instead, with its conditions; or none", async () => {
      const text = {
        defaultAction: "SCMP_ACT_ALLOW",
        archMap: [{ architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] }],
        syscalls: [
          { names: ["getpid"], action: "SCMP_ACT_ERRNO", errnoRet: 7 },
          {
            names: ["getppid"],
            action: "SCMP_ACT_ERRNO",
            errnoRet: 8,
            includes: { caps: ["CAP_SYS_ADMIN"] },
          },
          { names: ["getpgid"], action: "SCMP_ACT_ERRNO", args: [{ index: 0, value: 5, op: "SCMP_CMP_EQ" }] },
        ],
      };
      expect(await errnoOf(syscallProgram(39), profile(text))).toBe(7);
      expect(await errnoOf(syscallProgram(110), profile(text))).toBe(0);
      expect(await errnoOf(syscallProgram(121, [5]), profile(text))).toBe(1);
      expect(await errnoOf(syscallProgram(121, [0]), profile(text))).toBe(0);
      const strangling = { defaultAction: "SCMP_ACT_KILL_PROCESS", architectures: ["SCMP_ARCH_X86_64"] };
      await expect(errnoOf(syscallProgram(39), profile(strangling))).rejects.toThrow(/seccomp profile/);
      const unconfined = { security: { ...DEFAULT_SECURITY, seccomp: { kind: "unconfined" } } };
      expect((await sh("grep Seccomp: /proc/self/status", unconfined as object)).stdout).toMatch(/\s0\n/);
    });

    for (const [name, program, errno] of [
      ["getpid, as a control", syscallProgram(39), 0],
      ["mount", syscallProgram(165), 1],
      ["unshare(NEWUSER)", syscallProgram(272, [0x10000000]), 1],
      ["clone(NEWNS)", syscallProgram(56, [0x20000]), 1],
      ["clone3", syscallProgram(435), 38],
      ["keyctl", syscallProgram(250), 1],
      ["io_uring_setup", syscallProgram(425), 1],
      ["open_tree", syscallProgram(428), 1],
      ["AF_ALG", syscallProgram(41, [38, 5, 0]), 1],
      ["AF_VSOCK", syscallProgram(41, [40, 1, 0]), 1],
      ["AF_UNIX, as a control", syscallProgram(41, [1, 1, 0]), 0],
      ["personality(ADDR_NO_RANDOMIZE)", syscallProgram(135, [0x40000]), 1],
      ["a call newer than the filter", syscallProgram(467), 38],
      ["an x32 call", syscallProgram(0x40000000 + 39), 38],
      ["int 0x80: getpid, as a control", syscall32Program(20), 0],
      ["int 0x80: mount", syscall32Program(21), 1],
      ["int 0x80: socketcall(SYS_SOCKET)", syscall32Program(102, [1]), 38],
      ["int 0x80: socket(AF_ALG)", syscall32Program(359, [38, 5, 0]), 1],
    ] as const) {
      testX64(`${name}: ${errno}`, async () => {
        expect(await errnoOf(program)).toBe(errno);
        expect(await errnoOf(program, { uid: 33, gid: 33 })).toBe(errno);
      });
    }
  });

  describe("files", () => {
    test("a device of an image cannot be opened", async () => {
      const layer = bench.layer();
      treeSyscalls().makeNode(join(layer, "zero"), "char", 0o666, { major: 1, minor: 5 });
      const { stdout } = await sh("head -c1 /zero || head -c1 /dev/zero | wc -c", {
        lowerDirs: [layer, bench.base],
      });
      expect(stdout).toBe("1\n");
    });

    test("mounts of the step, in order, and what of them stays out of the layer", async () => {
      const source = bench.layer();
      const hosts = join(bench.dir, "hosts");
      writeFileSync(hosts, "ours\n");
      const mounts: readonly SandboxMount[] = [
        { type: "bind", source: hosts, target: "/etc/hosts", readOnly: true },
        { type: "bind", source, target: "/root/.cache", readOnly: false },
        { type: "tmpfs", target: "/scratch", sizeBytes: 1 << 20, mode: 0o750 },
      ];
      const { stdout, upper } = await sh(
        "cat /etc/hosts; (echo x > /etc/hosts) 2>&1 | grep -c Read-only; echo hit > /root/.cache/x; stat -c %a /scratch; touch /scratch/y",
        { mounts },
      );
      expect(stdout).toBe("ours\n1\n750\n");
      expect(upper).toEqual([]);
      expect(readFileSync(join(source, "x"), "utf8")).toBe("hit\n");
    });

    test.each([
      "true",
      "rm /etc/passwd; mkdir -p /a/b; echo x > /a/b/c; chmod 2755 /a; chown 33:34 /a/b/c",
      "rm -r /etc; mkdir /etc; touch /etc/new; ln -s /etc/new /link; mkfifo /fifo; ln /fifo /fifo2",
      "echo x > /dev/shm/x; echo x > /tmp/t; rm -r /dev 2>/dev/null; rmdir /proc; mkdir /run",
    ])("the layer is the native driver's: %s", async (script) => {
      await using native = openBench();
      const [one, other] = [await sh(script), await native.sh(script, { env })];
      expect(listing(one.upperDir)).toEqual(listing(other.upperDir));
    });
  });

  describe("streams", () => {
    test("are pipes that can be opened again", async () => {
      const { stdout, stderr } = await sh("echo a > /dev/stdout; echo b > /dev/stderr; cat", {
        stdin: Buffer.from("héllo"),
      });
      expect([stdout, stderr]).toEqual(["a\nhéllo", "b\n"]);
    });

    test("and an ordinary user may open them again, too", async () => {
      const { stdout, stderr } = await sh("echo a > /dev/stdout; echo b > /dev/stderr", { uid: 33 });
      expect([stdout, stderr]).toEqual(["a\n", "b\n"]);
    });
  });

  describe("its end", () => {
    test("of a daemon with the process; of everything when aborted", async () => {
      const seconds = `${process.pid}5.55`;
      const { status } = await sh(`(trap '' HUP TERM INT; setsid sleep ${seconds}) & sleep 0.1; exit 4`);
      expect([status, processesWith(seconds)]).toEqual([exited(4), []]);
      const controller = new AbortController();
      const run = bench.run(
        [
          "/bin/sh",
          "-c",
          `trap '' TERM INT; (setsid sleep ${seconds} &); sleep ${seconds}; sleep ${seconds}`,
        ],
        { env },
        controller.signal,
      );
      await found(seconds);
      controller.abort();
      await expect(run).rejects.toSatisfy((error) => hasCode(error, "aborted"));
      expect(processesWith(seconds)).toEqual([]);
      expect((await sh("echo again")).stdout).toBe("again\n");
    });
  });
});

test("a runtime that refuses is an error with its own reason", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-oci-"));
  const fake = join(dir, "fakerun");
  writeFileSync(
    fake,
    `#!/bin/sh
    if [ "$1" = --version ]; then echo fakerun 1; exit; fi
    echo '{"level":"error","msg":"no moon tonight"}' > log; exit 1`,
    { mode: 0o755 },
  );
  await using bench = openBench(false, fake);
  try {
    const run = bench.sh("true");
    await expect(run).rejects.toThrow("cannot create the process with fakerun: no moon tonight");
    await expect(bench.sh("true")).rejects.toSatisfy((error) => hasCode(error, "sandbox"));
    expect(existsSync(join(bench.dir, "upper-1/proc"))).toBe(false);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

/** Everything of a tree that goes into a layer, a line each. */
function listing(dir: string): readonly string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((name) => {
      const { mode, uid, gid, size, nlink, rdev } = lstatSync(join(dir, name));
      const opaque = [...readXattrs(join(dir, name)).keys()].filter((key) => key.endsWith("opaque"));
      return `${name} ${opaque.join()} ${mode.toString(8)} ${uid}:${gid} ${size} ${nlink} ${rdev}`;
    });
}

/** Processes of this machine whose command line holds a word. */
function processesWith(word: string): readonly number[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && pid !== String(process.pid))
    .map(Number)
    .filter((pid) => commandOf(pid).includes(word));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** The process that sleeps for so long. */
async function found(seconds: string): Promise<number> {
  const sleepers = (): readonly number[] =>
    processesWith(`sleep\0${seconds}`).filter((pid) => commandOf(pid).startsWith("sleep"));
  await until(() => sleepers().length > 0);
  return sleepers()[0] ?? 0;
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("waited 20 s in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
