import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BUSYBOX, BUSYBOX_BASE } from "../support/lab.js";
import { describeWith } from "../support/packages.js";
import type { Outcome, User, Users } from "./users.js";
import { openUsers, outcomeOf, processesOf } from "./users.js";

describeWith(["root", "busybox", "newuidmap", "slirp4netns", "pasta"], "an ordinary user's network", () => {
  let dir: string;
  let users: Users;
  let user: User;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-rootless-network-"));
    chmodSync(dir, 0o755);
    users = openUsers();
    user = users.add({ subordinateIds: true });
    mkdirSync(join(dir, "context"));
    copyFileSync(BUSYBOX, join(dir, "context/busybox"));
    const look = "RUN ls /sys/class/net; cat /etc/resolv.conf\n";
    writeFileSync(join(dir, "context/Containerfile"), `${BUSYBOX_BASE}${look}${look}`);
    mkdirSync(join(dir, "dev"));
    execFileSync("mknod", ["-m", "666", join(dir, "dev/open"), "c", "10", "200"]);
    execFileSync("mknod", ["-m", "600", join(dir, "dev/closed"), "c", "10", "200"]);
  });
  afterAll(() => {
    users[Symbol.dispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  /** A build in a mount namespace that a script has changed. */
  function build(script: string): Promise<Outcome> {
    const command = [
      process.execPath,
      join(users.dist, "cooper.cjs"),
      "build",
      "--no-cache",
      join(dir, "context"),
    ];
    const env = { PATH: process.env["PATH"], HOME: user.home, USER: user.name };
    const inside = [
      "unshare",
      "--mount",
      "sh",
      "-ec",
      `${script}\ncd; exec "$@"`,
      "sh",
      ...user.argv(command),
    ];
    return outcomeOf(
      "env",
      Object.entries(env)
        .map(([name, value]) => `${name}=${value ?? ""}`)
        .concat(inside),
    );
  }
  const tun = (name: string): string =>
    `mkdir -p /dev/net; touch /dev/net/tun; mount --bind ${join(dir, "dev", name)} /dev/net/tun\n`;
  const warnings = ({ stderr }: Outcome): readonly string[] =>
    stderr.split("\n").filter((line) => line.startsWith("Warning: processes share"));

  test("is this machine's where /dev/net/tun is root's alone, and one line says so", async () => {
    const built = await build(tun("closed"));
    expect(built).toMatchObject({ code: 0 });
    expect(warnings(built)).toEqual([
      expect.stringContaining("/dev/net/tun cannot be opened (EACCES); with --network=host"),
    ]);
  });

  test.each([
    ["slirp4netns", "", "tap0"],
    ["pasta", 'mount --bind /dev/null "$(readlink -f "$(command -v slirp4netns)")"\n', "lo\n"],
  ])("is private, by %s, where everybody may open it", async (_program, script, device) => {
    const built = await build(tun("open") + script);
    expect(built).toMatchObject({ code: 0 });
    expect(warnings(built)).toEqual([]);
    expect(built.stdout + built.stderr).toContain(device);
    expect(built.stdout + built.stderr).toContain("nameserver 10.0.2.3");
    expect(
      [...processesOf(user.uid).values()].filter((command) => /slirp|pasta|\bcat\b/.test(command)),
    ).toEqual([]);
  });
});
