import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { SandboxMount } from "../../src/runtime/index.js";
import { mountsOfNoOther } from "../support/leftovers.js";
import type { Bench } from "./support.js";
import { exited, openBench } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

function file(name: string, text: string): string {
  const path = join(bench.dir, name);
  writeFileSync(path, text);
  return path;
}

function networkFiles(): readonly SandboxMount[] {
  return ["hosts", "resolv.conf", "hostname"].map((name) => ({
    type: "bind",
    source: file(name, `ours: ${name}\n`),
    target: `/etc/${name}`,
    readOnly: true,
  }));
}

/** A layer that deletes a name of those below it. */
function whiteout(layer: string, path: string): void {
  treeSyscalls().makeNode(join(layer, path), "char", 0, { major: 0, minor: 0 });
}

describe("the root file system", () => {
  test("reads through its layers, writes to the upper directory, and nowhere else", async () => {
    const layer = bench.layer();
    writeFileSync(join(layer, "note"), "upper layer\n");
    const { stdout, upper } = await bench.sh("cat /note; echo new > /note; rm /etc/passwd; mkdir /var", {
      lowerDirs: [layer, bench.base],
    });
    expect(stdout).toBe("upper layer\n");
    expect(upper).toEqual(["etc", "etc/passwd", "note", "var"]);
    expect(readFileSync(join(layer, "note"), "utf8")).toBe("upper layer\n");
  });

  test("of nothing: FROM scratch, with one static program copied in", async () => {
    const layer = bench.layer();
    writeFileSync(join(layer, "busybox"), readFileSync("/bin/busybox"), { mode: 0o755 });
    const { status, stdout, upper } = await bench.run(["/busybox", "ls", "-A", "/", "/etc"], {
      lowerDirs: [layer],
      mounts: networkFiles(),
    });
    expect(status).toEqual(exited(0));
    expect(stdout).toBe("/:\nbusybox\ndev\netc\nproc\nsys\n\n/etc:\nhostname\nhosts\nresolv.conf\n");
    expect(upper).toEqual([]);
    expect((await bench.run(["/busybox"], { lowerDirs: [] })).status).toEqual(exited(127));
  });

  test.each([2, 60, 128, 498, 499, 500])("of %i layers (G8)", async (count) => {
    const layers = Array.from({ length: count - 1 }, (_, index) => {
      const layer = bench.layer();
      writeFileSync(join(layer, `file-${index}`), "");
      return layer;
    });
    const { status, stdout, upper } = await bench.sh("ls / | grep -c file-", {
      lowerDirs: [...layers, bench.base],
      mounts: networkFiles(),
    });
    expect([status, stdout]).toEqual([exited(0), `${count - 1}\n`]);
    expect(upper).toEqual([]);
  });

  test("of more layers than the kernel takes: an error that says so", async () => {
    const layers = Array.from({ length: 501 }, () => bench.layer());
    await expect(bench.run(["true"], { lowerDirs: layers })).rejects.toThrow(
      /cannot mount the root file system/,
    );
  });

  test("leaves no mount behind, here or in its own place", async () => {
    const before = mountsOfNoOther(bench.dir);
    await bench.sh("true", { mounts: networkFiles() });
    expect(mountsOfNoOther(bench.dir)).toEqual(before);
  });
});

describe("places to mount on never reach the upper directory", () => {
  test("/etc/hosts and its like, as files of ours, read-only", async () => {
    const { stdout, stderr, upper } = await bench.sh(
      "cat /etc/hosts /etc/resolv.conf /etc/hostname; echo x > /etc/hosts",
      { mounts: networkFiles() },
    );
    expect(stdout).toBe("ours: hosts\nours: resolv.conf\nours: hostname\n");
    expect(stderr).toMatch(/Read-only/);
    expect(upper).toEqual([]);
  });

  test("when the step writes beside them, only that", async () => {
    expect((await bench.sh("echo x > /etc/motd", { mounts: networkFiles() })).upper).toEqual([
      "etc",
      "etc/motd",
    ]);
  });

  test("when the image has deleted them", async () => {
    const layer = bench.layer();
    mkdirSync(join(layer, "etc"));
    const lower = bench.layer();
    mkdirSync(join(lower, "etc"));
    for (const name of ["hosts", "resolv.conf", "hostname"]) {
      whiteout(layer, `etc/${name}`);
      writeFileSync(join(lower, "etc", name), "old\n");
    }
    const stack = { lowerDirs: [layer, lower, bench.base], mounts: networkFiles() };
    const { stdout, upper } = await bench.sh("cat /etc/hosts; ls /etc", stack);
    expect(stdout).toBe("ours: hosts\ngroup\nhostname\nhosts\npasswd\nresolv.conf\n");
    expect(upper).toEqual([]);
    expect((await bench.sh("echo x > /etc/motd", stack)).upper).toEqual(["etc", "etc/motd"]);
  });

  test("when the image has an opaque directory, a deep target below it, and what the step adds stays", async () => {
    const layer = bench.layer();
    mkdirSync(join(layer, "root"), { mode: 0o700 });
    treeSyscalls().setXattr(join(layer, "root"), "trusted.overlay.opaque", Buffer.from("y"));
    const cache = bench.layer();
    const mounts = [
      { type: "bind", source: cache, target: "/root/.cache/pip/http", readOnly: false },
    ] as const;
    const stack = { lowerDirs: [layer, bench.base], mounts };
    expect((await bench.sh("echo hit > /root/.cache/pip/http/wheel", stack)).upper).toEqual([]);
    expect(readFileSync(join(cache, "wheel"), "utf8")).toBe("hit\n");
    const { upper } = await bench.sh("echo mine > /root/.cache/other; chmod 711 /root", stack);
    expect(upper).toEqual(["root", "root/.cache", "root/.cache/other"]);
  });

  test("through a link of the image, as long as that stays inside", async () => {
    const layer = bench.layer();
    mkdirSync(join(layer, "etc"));
    symlinkSync("../run/systemd/resolve/stub-resolv.conf", join(layer, "etc/resolv.conf"));
    const { stdout, upper } = await bench.sh("cat /etc/resolv.conf", {
      lowerDirs: [layer, bench.base],
      mounts: networkFiles(),
    });
    expect(stdout).toBe("ours: resolv.conf\n");
    expect(upper).toEqual([]);
  });

  test("when a link leads to the kernel's files, the image keeps it and the step runs", async () => {
    const layer = bench.layer();
    mkdirSync(join(layer, "etc"));
    symlinkSync("/dev/null", join(layer, "etc/resolv.conf"));
    const { status, stdout, upper } = await bench.sh("cat /etc/resolv.conf; cat /etc/hosts", {
      lowerDirs: [layer, bench.base],
      mounts: networkFiles(),
    });
    expect([status, stdout]).toEqual([exited(0), "ours: hosts\n"]);
    expect(upper).toEqual([]);
  });
});

describe("mounts of a plan", () => {
  test("a tmpfs: its size, its mode, nothing in the layer", async () => {
    const mounts = [{ type: "tmpfs", target: "/scratch/deep", sizeBytes: 1 << 20, mode: 0o750 }] as const;
    const { stdout, upper } = await bench.sh(
      "stat -c %a /scratch/deep; df -k /scratch/deep | tail -1 | awk '{print $2}'; touch /scratch/deep/x",
      { mounts },
    );
    expect(stdout).toBe("750\n1024\n");
    expect(upper).toEqual([]);
  });

  test("a directory, writable or not, in the order given", async () => {
    const [outer, inner] = [bench.layer(), bench.layer()];
    mkdirSync(join(outer, "inner"));
    const mounts = [
      { type: "bind", source: outer, target: "/m", readOnly: false },
      { type: "bind", source: inner, target: "/m/inner", readOnly: true },
    ] as const;
    const { stdout, upper } = await bench.sh("touch /m/a && (touch /m/inner/b || echo refused)", { mounts });
    expect(stdout).toBe("refused\n");
    expect(existsSync(join(outer, "a"))).toBe(true);
    expect(upper).toEqual([]);
  });

  test("a script file can be executed", async () => {
    const script = file("script", "#!/bin/sh\necho ran $1\n");
    const mounts = [{ type: "bind", source: script, target: "/run/script", readOnly: true }] as const;
    expect((await bench.run(["/bin/sh", "/run/script", "x"], { mounts })).stdout).toBe("ran x\n");
  });

  test("no device on any of them can be opened", async () => {
    const layer = bench.layer();
    treeSyscalls().makeNode(join(layer, "zero"), "char", 0o666, { major: 1, minor: 5 });
    expect(lstatSync(join(layer, "zero")).isCharacterDevice()).toBe(true);
    const mounts = [{ type: "bind", source: layer, target: "/m", readOnly: true }] as const;
    const { stdout, stderr } = await bench.sh(
      "head -c1 /zero || head -c1 /m/zero || head -c1 /dev/zero | wc -c",
      { lowerDirs: [layer, bench.base], mounts },
    );
    expect(stdout).toBe("1\n");
    expect(stderr.match(/Permission denied/g)).toHaveLength(2);
  });
});

test("nothing of all this is left in the scratch directory but the stub layers' own directory", () => {
  expect(statSync(join(bench.dir, "scratch")).nlink).toBe(3);
});
