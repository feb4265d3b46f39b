import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { CooperError, hasCode } from "../errors.js";
import { DEFAULT_LIMITS, DEFAULT_SECURITY } from "./defaults.js";
import { openSandbox } from "./sandbox.js";
import type { SandboxOptions } from "./sandbox.js";

/** What stands in the way of sandboxes here; `cooper doctor` prints it. */
export interface ProbeResult {
  readonly kernel: string;
  /** The refusal of a real attempt, from namespaces to the last capability; undefined when it works. */
  readonly refusal: CooperError | undefined;
}

const NOTHING = "/cooper-probe";

/**
 * Does all that a RUN needs, up to starting a program that does not exist: that it is not found means that everything
 * before it works. About 100 ms. `scratchDir` should be on the file system of the store, since overlays depend on it.
 */
export async function probe(options: SandboxOptions): Promise<ProbeResult> {
  const kernel = release();
  const dir = mkdtempSync(join(options.scratchDir, "probe-"));
  try {
    const [upperDir, workDir] = [join(dir, "upper"), join(dir, "work")];
    for (const each of [upperDir, workDir]) mkdirSync(each);
    await using sandbox = openSandbox({ ...options, scratchDir: dir });
    const status = await sandbox.run(
      {
        rootfs: { kind: "overlay", lowerDirs: [], upperDir, workDir },
        argv: [NOTHING],
        env: {},
        cwd: "/",
        uid: 0,
        gid: 0,
        groups: [],
        hostname: "probe",
        network: "none",
        mounts: [],
        devices: [],
        security: DEFAULT_SECURITY,
        limits: DEFAULT_LIMITS,
        stdin: "null",
        stdio: "pipe",
      },
      { signal: new AbortController().signal },
    );
    if (status.kind === "exited" && status.code === 127) return { kernel, refusal: undefined };
    return {
      kernel,
      refusal: new CooperError("sandbox", `a sandbox started, but answered ${JSON.stringify(status)}`),
    };
  } catch (error) {
    if (!hasCode(error, "sandbox")) throw error;
    return { kernel, refusal: error as CooperError };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const SWITCHES: readonly (readonly [path: string, refuses: string, advice: string])[] = [
  ["kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"],
  [
    "kernel/apparmor_restrict_unprivileged_userns",
    "1",
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for node",
  ],
  ["user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=28633"],
];

/** Why this user may not make a user namespace, as an error with what to change; undefined when no known switch forbids it. */
export function userNamespaceRefusal(): CooperError | undefined {
  for (const [path, refuses, advice] of SWITCHES) {
    if (readSwitch(path) === refuses) {
      return new CooperError(
        "sandbox",
        `cannot make a user namespace: ${path.replaceAll("/", ".")} is ${refuses}`,
        { hint: advice },
      );
    }
  }
  return undefined;
}

function readSwitch(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, "utf8").trim();
  } catch {
    return undefined;
  }
}
