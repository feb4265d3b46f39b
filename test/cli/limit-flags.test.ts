import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { BuildOptions, RunImageOptions } from "../../src/cooper.js";
import { cli, details, digest } from "./fake-world.js";

/** What build and run get of these arguments; what was printed when it does not get that far. Both must agree. */
async function optionsOf(args: readonly string[]): Promise<Partial<BuildOptions> | string> {
  let built: BuildOptions | undefined;
  let ran: RunImageOptions | undefined;
  const cooper = {
    build: (options: BuildOptions) => {
      built = options;
      return Promise.resolve({
        imageId: digest("b"),
        config: details.config,
        steps: { cached: 0, built: 1 },
      });
    },
    run: (_image: string, options?: RunImageOptions) => {
      ran = options;
      return Promise.resolve(0);
    },
  };
  const { stderr } = await cli(["build", ...args, "."], { cooper });
  const second = await cli(["run", "--rm", ...args, "image"], { cooper });
  expect(second.stderr).toBe(stderr);
  if (built) expect(ran).toMatchObject(only(built));
  return built ?? stderr;
}

const dir = mkdtempSync(join(tmpdir(), "cooper-flags-"));
const profile = join(dir, "profile.json");
writeFileSync(profile, "{}");
afterAll(() => rmSync(dir, { recursive: true }));

const NAMES =
  "capAdd capDrop seccomp noNewPrivileges ulimits shmBytes memoryBytes memorySwapBytes cpus pidsLimit devices userns".split(
    " ",
  );

function only(options: BuildOptions): Partial<BuildOptions> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => NAMES.includes(name)));
}

describe("what processes may do and use", () => {
  test.each([
    [["--cap-add", "CHOWN,kill", "--cap-add=ALL"], { capAdd: ["CHOWN", "kill", "ALL"] }],
    [["--cap-drop", "all"], { capDrop: ["all"] }],
    [["--security-opt", "seccomp=unconfined"], { seccomp: "unconfined" }],
    [["--security-opt", `seccomp=${profile}`], { seccomp: { profile: "{}", path: profile } }],
    [["--security-opt", "no-new-privileges"], { noNewPrivileges: true }],
    [["--security-opt=no-new-privileges:true"], { noNewPrivileges: true }],
    [["--security-opt=no-new-privileges=false"], { noNewPrivileges: false }],
    [["--security-opt=label=disable", "--security-opt", "apparmor=unconfined"], {}],
    [["--ulimit", "nofile=10:20"], { ulimits: [{ name: "nofile", soft: 10, hard: 20 }] }],
    [["--ulimit", "core=-1"], { ulimits: [{ name: "core", soft: -1, hard: -1 }] }],
    [
      ["--ulimit", "host", "--ulimit=cpu=1:unlimited"],
      { ulimits: ["host", { name: "cpu", soft: 1, hard: -1 }] },
    ],
    [["-m", "128m", "--memory-swap=-1"], { memoryBytes: 128 << 20, memorySwapBytes: -1 }],
    [["--memory=1g", "--memory-swap", "2g"], { memoryBytes: 2 ** 30, memorySwapBytes: 2 ** 31 }],
    [["--cpus", "1.5", "--pids-limit", "-1"], { cpus: 1.5, pidsLimit: -1 }],
    [["--pids-limit=100"], { pidsLimit: 100 }],
    [["--device", "/dev/fuse", "--device=/dev/a:/dev/b:rw"], { devices: ["/dev/fuse", "/dev/a:/dev/b:rw"] }],
    [["--userns", "host"], { userns: "host" }],
    [["--userns=auto"], { userns: "auto" }],
    [["--userns=auto:size=1000"], { userns: { size: 1000 } }],
    [["--shm-size", "64m"], { shmBytes: 64 << 20 }],
    [["--shm-size=1.5g"], { shmBytes: 1.5 * 2 ** 30 }],
    [["--shm-size=512KiB"], { shmBytes: 512 << 10 }],
    [["--shm-size=0"], { shmBytes: 0 }],
  ])("%j", async (args, expected) => {
    const options = await optionsOf(args);
    expect(typeof options === "string" ? options : only(options as BuildOptions)).toEqual(expected);
  });

  test.each([
    [["--security-opt", "label=type:x"], "--security-opt label=type:x is not supported"],
    [["--security-opt", "seccomp"], "--security-opt seccomp is not supported"],
    [["--security-opt", "seccomp=/no/profile"], "cannot read the seccomp profile /no/profile: no such file"],
    [["--security-opt", "apparmor=mine"], "--security-opt apparmor=mine is not supported"],
    [["--security-opt", "systempaths=unconfined"], "--security-opt systempaths=unconfined is not supported"],
    [["--security-opt", "no-new-privileges:yes"], '--security-opt no-new-privileges: "yes" is neither'],
    [["--ulimit", "nofile"], '--ulimit: "nofile" is not NAME=SOFT[:HARD]'],
    [["--ulimit", "nofile=1:2:3"], '--ulimit: "nofile=1:2:3" is not NAME=SOFT[:HARD]'],
    [["--ulimit", "nofile=-5"], '--ulimit: "nofile=-5" is not NAME=SOFT[:HARD]'],
    [["--cpus", "two"], '--cpus: "two" is not a number'],
    [["--pids-limit", "-2"], '--pids-limit: "-2" is not a whole number'],
    [["--memory", "1x"], '--memory: "1x" is not a size'],
    [["--userns=keep-id"], '--userns: "keep-id" is neither host, auto nor auto:size=N'],
    [["--userns=auto:uidmapping=0:1:2"], '--userns: "auto:uidmapping=0:1:2" is neither host, auto nor'],
    [["--shm-size", "many"], '--shm-size: "many" is not a size'],
    [["--shm-size=-1"], '--shm-size: "-1" is not a size'],
    [["--shm-size="], '--shm-size: "" is not a size'],
  ])("%j is refused", async (args, message) => {
    expect(await optionsOf(args)).toContain(`Error: ${message}`);
  });
});
