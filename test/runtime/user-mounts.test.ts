import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { SandboxMount, SandboxRootfs } from "../../src/runtime/index.js";
import type { Bench } from "./support.js";
import { exited, openBench } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

function layers(...lowerDirs: readonly string[]): SandboxRootfs {
  return { kind: "overlay", lowerDirs, upperDir: bench.layer(), workDir: bench.layer() };
}

function secret(
  text: string,
  changes: Partial<Extract<SandboxMount, { type: "secret" }>> = {},
): SandboxMount {
  const content = Buffer.from(text);
  return {
    type: "secret",
    target: "/run/secrets/s",
    content,
    readOnly: true,
    mode: 0o400,
    uid: 0,
    gid: 0,
    ...changes,
  };
}

describe("options of a mount", () => {
  const options = (target: string): string => `grep ' ${target} ' /proc/self/mountinfo | cut -d' ' -f6`;

  test("nosuid, nodev and noexec are in force, on every type", async () => {
    const source = bench.layer();
    writeFileSync(join(source, "run"), "#!/bin/sh\necho ran\n", { mode: 0o755 });
    const asked = { options: ["nosuid", "noexec"] as const };
    const mounts: readonly SandboxMount[] = [
      { type: "bind", source, target: "/bind", readOnly: false, ...asked },
      { type: "tmpfs", target: "/tmpfs", ...asked },
      { type: "layers", rootfs: layers(source), inside: "/", target: "/layers", readOnly: false, ...asked },
    ];
    const script = mounts.map(({ target }) => options(target)).join("; ");
    const { stdout, stderr, status } = await bench.sh(`${script}; /bind/run`, { mounts });
    expect(stdout.trim().split("\n")).toEqual([
      expect.stringMatching(/^rw,nosuid,nodev,noexec,/),
      expect.stringMatching(/^rw,nosuid,nodev,noexec,/),
      expect.stringMatching(/^rw,nosuid,nodev,noexec,/),
    ]);
    expect([status, stderr]).toEqual([exited(126), expect.stringMatching(/Permission denied/)]);
  });

  test("a read-only tmpfs is empty and stays so", async () => {
    const mounts = [{ type: "tmpfs", target: "/t", readOnly: true }] as const;
    const { stderr, upper } = await bench.sh("ls -A /t; touch /t/x", { mounts });
    expect([stderr, upper]).toEqual([expect.stringMatching(/Read-only file system/), []]);
  });
});

describe("a part of a bind's source", () => {
  test("a directory or a file of it, through links that stay inside", async () => {
    const source = bench.layer();
    mkdirSync(join(source, "real/deep"), { recursive: true });
    writeFileSync(join(source, "real/deep/note"), "here\n");
    symlinkSync("/real/deep", join(source, "link"));
    const bind = (inside: string, target: string): SandboxMount => ({
      type: "bind",
      source,
      inside,
      target,
      readOnly: true,
    });
    const mounts = [bind("link", "/dir"), bind("/link/note", "/deep/file"), bind("/", "/all")];
    const { stdout, upper } = await bench.sh("cat /dir/note /deep/file; ls /all", { mounts });
    expect([stdout, upper]).toEqual(["here\nhere\nlink\nreal\n", []]);
  });

  test("a link that would lead out leads nowhere", async () => {
    const source = bench.layer();
    symlinkSync("/etc", join(source, "out"));
    const mounts = [{ type: "bind", source, inside: "/out", target: "/m", readOnly: true }] as const;
    await expect(bench.sh("true", { mounts })).rejects.toThrow(
      "cannot find the source of a mount: openat /out: no such file or directory (ENOENT)",
    );
  });
});

describe("layers of another root file system", () => {
  test("are merged, and a path in them is found there", async () => {
    const [upper, lower] = [bench.layer(), bench.layer()];
    mkdirSync(join(lower, "opt"));
    writeFileSync(join(lower, "opt/a"), "a\n");
    writeFileSync(join(lower, "opt/b"), "b\n");
    mkdirSync(join(upper, "opt"));
    treeSyscalls().makeNode(join(upper, "opt/b"), "char", 0, { major: 0, minor: 0 });
    symlinkSync("opt", join(upper, "current"));
    const mount = { type: "layers", rootfs: layers(upper, lower), readOnly: true } as const;
    const mounts = [
      { ...mount, inside: "/current", target: "/m" },
      { ...mount, rootfs: layers(upper, lower), inside: "/opt/a", target: "/file" },
    ];
    const { stdout, stderr, upper: left } = await bench.sh("ls /m; cat /file; touch /m/x", { mounts });
    expect([stdout, left]).toEqual(["a\na\n", []]);
    expect(stderr).toMatch(/Read-only/);
  });

  test("take writes that nobody sees afterwards", async () => {
    const lower = bench.layer();
    writeFileSync(join(lower, "a"), "old\n");
    const rootfs = layers(lower);
    const mounts = [{ type: "layers", rootfs, inside: "/", target: "/m", readOnly: false }] as const;
    const { stdout, upper } = await bench.sh("echo new > /m/a; cat /m/a", { mounts });
    expect([stdout, upper]).toEqual(["new\n", []]);
    expect(readFileSync(join(lower, "a"), "utf8")).toBe("old\n");
  });

  test("may be none, or very many", async () => {
    const many = Array.from({ length: 300 }, (_, index) => {
      const layer = bench.layer();
      writeFileSync(join(layer, `file-${index}`), "");
      return layer;
    });
    const mounts = [
      { type: "layers", rootfs: layers(), inside: "/", target: "/none", readOnly: true },
      { type: "layers", rootfs: layers(...many), inside: "/", target: "/many", readOnly: true },
    ] as const;
    const { stdout } = await bench.sh("ls -A /none; ls /many | wc -l", { mounts });
    expect(stdout).toBe("300\n");
  });

  test("that are the step's own can be mounted in it", async () => {
    const rootfs = layers(bench.base);
    const mounts = [{ type: "layers", rootfs, inside: "/etc", target: "/copy", readOnly: true }] as const;
    const { stdout } = await bench.sh("echo changed > /etc/passwd; head -1 /copy/passwd", { mounts });
    expect(stdout).toMatch(/^root:x:0:0/);
  });
});

describe("a secret", () => {
  test("is a file with the mode and owner asked for, that nobody can change, run or see in a layer", async () => {
    const mounts = [secret("a\0b", { mode: 0o440, uid: 7, gid: 33 })];
    const look = "stat -c '%a %u %g %s' /run/secrets/s; od -An -tx1 /run/secrets/s";
    const { stdout, stderr, upper } = await bench.sh(`${look}; echo x > /run/secrets/s`, { mounts });
    expect(stdout).toBe("440 7 33 3\n 61 00 62\n");
    expect(stderr).toMatch(/Read-only/);
    expect(upper).toEqual([]);
    const { stdout: flags } = await bench.sh("grep secrets /proc/self/mountinfo | cut -d' ' -f6", { mounts });
    expect(flags).toMatch(/^ro,nosuid,nodev,noexec,/);
  });

  test("cannot be read by a user whom the mode shuts out", async () => {
    const mounts = [secret("x")];
    const { status } = await bench.run(["/bin/cat", "/run/secrets/s"], { mounts, uid: 33, gid: 33 });
    expect(status).toEqual(exited(1));
  });

  test("of any size, several at once; writable when it is said to be, and for that one process", async () => {
    const large = "x".repeat(500 * 1024);
    const mounts = [secret(large), secret("small", { target: "/two", readOnly: false, mode: 0o600 })];
    const { stdout } = await bench.sh("wc -c < /run/secrets/s; echo more >> /two; cat /two", { mounts });
    expect(stdout).toBe("512000\nsmallmore\n");
  });

  test("is in no argument, environment or file that another process could see", async () => {
    const canary = "canary-of-the-secret";
    const mounts = [secret(canary)];
    const script = "cat /proc/self/environ /proc/1/cmdline /proc/mounts; ls -AR /run; sleep 0.2";
    const run = bench.sh(script, { mounts });
    const seen: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        for (const file of ["cmdline", "environ"]) seen.push(read(`/proc/${pid}/${file}`));
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(seen.filter((text) => text.includes(canary))).toEqual([]);
    expect((await run).stdout).not.toContain(canary);
  });
});

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

describe("a place that was made to mount on", () => {
  /** Below an opaque directory no lower layer can hold the place: the helper makes it. */
  function opaque(): readonly string[] {
    const layer = bench.layer();
    mkdirSync(join(layer, "srv"));
    treeSyscalls().setXattr(join(layer, "srv"), "trusted.overlay.opaque", Buffer.from("y"));
    utimesSync(join(layer, "srv"), 1_000_000, 1_000_000);
    return [layer, bench.base];
  }

  test.each(["/srv/a/b/file", "/srv/file", "/new/file"])("%s is gone afterwards", async (target) => {
    const mounts = [secret("x", { target })];
    expect((await bench.sh(`cat ${target}`, { mounts, lowerDirs: opaque() })).upper).toEqual([]);
  });

  test("leaves its directory the time it had, when the step changes but its mode", async () => {
    const mounts = [secret("x", { target: "/srv/file" })];
    const { upper, upperDir } = await bench.sh("chmod 700 /srv", { mounts, lowerDirs: opaque() });
    expect(upper).toEqual(["srv"]);
    expect(statSync(join(upperDir, "srv")).mtimeMs).toBe(1_000_000_000);
  });

  test("does not take back the time that the step gave its directory", async () => {
    const mounts = [secret("x", { target: "/srv/file" })];
    const { upper, upperDir } = await bench.sh("touch /srv/own", { mounts, lowerDirs: opaque() });
    expect(upper).toEqual(["srv", "srv/own"]);
    expect(statSync(join(upperDir, "srv")).mtimeMs).toBeGreaterThan(1_000_000_000);
  });

  test("of a source that only the helper can look at", async () => {
    const source = bench.layer();
    mkdirSync(join(source, "d"));
    const mounts = [{ type: "bind", source, inside: "/d", target: "/srv/x/y", readOnly: false }] as const;
    const { upper } = await bench.sh("touch /srv/x/y/z", { mounts, lowerDirs: opaque() });
    expect([upper, existsSync(join(source, "d/z"))]).toEqual([[], true]);
  });
});
