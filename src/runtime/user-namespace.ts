import type { ChildProcess } from "node:child_process";
import { closeSync, writeFileSync } from "node:fs";
import { CooperError, errnoOf } from "../errors.js";
import { holdNamespace, killed, openNamespaceOf } from "./attendants.js";
import type { HelperIdMapping } from "./id-mapping.js";
import { claimIds, rangesFor } from "./id-ranges.js";
import type { SandboxOptions } from "./sandbox.js";
import { AT_FDCWD, cloneMount, close, mapOwners } from "./syscalls.js";
import type { SandboxPlan, SandboxSecurity } from "./types.js";

/** A user namespace whose root is nobody on this machine. Gone after dispose, and with cooper. */
export interface UserNamespace extends HelperIdMapping, AsyncDisposable {}

/** Those of a driver, made when first needed: processes that get as many ids share one. */
export interface UserNamespaces extends AsyncDisposable {
  /** Undefined for a process that has none of its own. Throws what `openUserNamespace` does. */
  of(plan: SandboxPlan): Promise<UserNamespace | undefined>;
}

export function openUserNamespaces({ scratchDir, userNamespace }: SandboxOptions): UserNamespaces {
  const opened = new Map<number, Promise<UserNamespace>>();
  return {
    of: async (plan) => {
      const size = plan.security.userNamespace;
      if (size === "shared") return undefined;
      refuseUserNamespace(size, userNamespace);
      refuseForeignIds(plan, size);
      const found = opened.get(size) ?? openUserNamespace(size, scratchDir);
      opened.set(size, found);
      return found;
    },
    [Symbol.asyncDispose]: async () => {
      for (const each of await Promise.allSettled(opened.values()))
        if (each.status === "fulfilled") await each.value[Symbol.asyncDispose]();
      opened.clear();
    },
  };
}

/**
 * Makes a user namespace with `size` ids. `dir`: where the root file systems of its processes lie; the owners there will
 * be mapped. Throws `unsupported` where that cannot be, `sandbox` where it just is not possible now.
 */
async function openUserNamespace(size: number, dir: string): Promise<UserNamespace> {
  const claimed = claimIds(size);
  let holder: ChildProcess | undefined;
  let held: number | undefined;
  try {
    const child = await holdNamespace("user", [], (started) => (holder = started));
    for (const kind of ["uid", "gid"] as const)
      writeFileSync(`/proc/${child.pid ?? 0}/${kind}_map`, `0 ${claimed[kind]} ${size}\n`);
    const { fd, path } = openNamespaceOf(child.pid ?? 0, "user");
    held = fd;
    tryMapping(fd, dir);
    return {
      namespace: path,
      uid: claimed.uid,
      gid: claimed.gid,
      [Symbol.asyncDispose]: () => {
        closeSync(fd);
        claimed[Symbol.dispose]();
        return Promise.resolve();
      },
    };
  } catch (error) {
    if (held !== undefined) closeSync(held);
    claimed[Symbol.dispose]();
    throw error instanceof CooperError ? error : refused(error);
  } finally {
    // The namespace lives for as long as somebody holds it open.
    if (holder !== undefined) await killed(holder);
  }
}

function refused(error: unknown): CooperError {
  const reason = error instanceof Error ? error.message : String(error);
  return new CooperError("sandbox", `cannot make a user namespace of its own: ${reason}`, { cause: error });
}

/** Not every file system takes part in it, and before Linux 5.12 none did. */
function tryMapping(namespaceFd: number, dir: string): void {
  const copy = cloneMount(AT_FDCWD, dir);
  try {
    mapOwners(copy, namespaceFd, dir);
  } catch (error) {
    throw new CooperError(
      "unsupported",
      `a user namespace of its own needs mounts that map owners, which the file system of ${dir} refuses: mount_setattr (${errnoOf(error) ?? String(error)})`,
      {
        hint: "ext4, xfs and btrfs have them since Linux 5.19, tmpfs since 6.3: choose one with --root",
        cause: error,
      },
    );
  } finally {
    close(copy);
  }
}

/** Throws what `openUserNamespace` would for these processes, by making one. */
export async function tryUserNamespace(
  { userNamespace: size }: Pick<SandboxSecurity, "userNamespace">,
  { scratchDir, userNamespace }: SandboxOptions,
): Promise<void> {
  if (size === "shared") return;
  refuseUserNamespace(size, userNamespace);
  await using _tried = await openUserNamespace(size, scratchDir);
}

/** Throws what can be known to stand in the way before there is one. `inside`: whether cooper is in one itself. */
function refuseUserNamespace(size: number, inside: boolean): void {
  if (inside)
    throw new CooperError(
      "unsupported",
      "a user namespace of its own for a process needs cooper to run as root",
      {
        hint: "leave out --userns=auto: where cooper does not run as root, the root of a process is nobody on this machine anyway",
      },
    );
  for (const kind of ["uid", "gid"] as const) rangesFor(kind, size);
}

/** Throws `unsupported` for users that the plan names and a namespace of this size does not have. */
function refuseForeignIds(plan: SandboxPlan, size: number): void {
  const secrets = plan.mounts.flatMap((mount) => (mount.type === "secret" ? [mount.uid, mount.gid] : []));
  const beyond = [plan.uid, plan.gid, ...plan.groups, ...secrets].find((id) => id >= size);
  if (beyond === undefined) return;
  throw new CooperError(
    "unsupported",
    `user or group ${beyond} is not among the ${size} ids of the user namespace`,
    {
      hint: `give it more: --userns=auto:size=${beyond + 1}`,
    },
  );
}
