import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { CooperError, hasCode } from "../errors.js";
import { DEFAULT_LIMITS, DEFAULT_SECURITY } from "./defaults.js";
import { openSandbox } from "./sandbox.js";
import type { SandboxOptions } from "./sandbox.js";
import type { Sandbox, SandboxRootfs } from "./types.js";

/** What stands in the way of sandboxes here. */
export interface ProbeResult {
  readonly kernel: string;
  /** The refusal of a real attempt, from namespaces to the last capability; undefined when it works. */
  readonly refusal: CooperError | undefined;
  /** It was given up, which says little about what works. */
  readonly timedOut: boolean;
}

/** A driver to try. `rootfs`: what kind it wants. */
export interface ProbedDriver {
  readonly open: (options: SandboxOptions) => Sandbox;
  readonly rootfs: SandboxRootfs["kind"];
}

const NATIVE: ProbedDriver = { open: openSandbox, rootfs: "overlay" };
const NOTHING = "/cooper-probe";
/** Far more than a busy machine needs; a runtime that hangs must not stop a build for ever. */
export const PATIENCE_MS = 30_000;
/** What says "this driver cannot be had here", and is no mistake of ours. */
const REFUSALS = ["sandbox", "not-found", "unsupported"] as const;

/**
 * Does all that a RUN needs, up to starting a program that does not exist: that it is not found means that everything
 * before it works. About 100 ms. `scratchDir` should be on the file system of the store, since overlays depend on it.
 */
export async function probe(
  options: SandboxOptions,
  driver: ProbedDriver = NATIVE,
  patienceMs = PATIENCE_MS,
): Promise<ProbeResult> {
  const kernel = release();
  const dir = mkdtempSync(join(options.scratchDir, "probe-"));
  const signal = AbortSignal.timeout(patienceMs);
  try {
    await using sandbox = driver.open({ ...options, scratchDir: dir });
    const status = await sandbox.run(
      {
        rootfs: emptyRootfs(dir, driver.rootfs),
        argv: [NOTHING],
        env: {},
        cwd: "/",
        uid: 0,
        gid: 0,
        groups: [],
        hostname: "probe",
        // A driver that mounts nothing has no network of its own either.
        network: driver.rootfs === "overlay" ? "none" : "host",
        mounts: [],
        devices: [],
        security: DEFAULT_SECURITY,
        limits: DEFAULT_LIMITS,
        stdin: "null",
        stdio: "pipe",
      },
      { signal },
    );
    if (status.kind === "exited" && status.code === 127)
      return { kernel, refusal: undefined, timedOut: false };
    return {
      kernel,
      refusal: new CooperError("sandbox", `a sandbox started, but answered ${JSON.stringify(status)}`),
      timedOut: false,
    };
  } catch (error) {
    if (signal.aborted) {
      const refusal = new CooperError("sandbox", `no answer within ${patienceMs / 1000} s`);
      return { kernel, refusal, timedOut: true };
    }
    if (!REFUSALS.some((code) => hasCode(error, code))) throw error;
    return { kernel, refusal: error as CooperError, timedOut: false };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function emptyRootfs(dir: string, kind: SandboxRootfs["kind"]): SandboxRootfs {
  const make = (name: string): string => {
    const path = join(dir, name);
    mkdirSync(path);
    return path;
  };
  if (kind === "directory") return { kind, dir: make("root"), restored: () => undefined };
  return { kind, lowerDirs: [], upperDir: make("upper"), workDir: make("work") };
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
