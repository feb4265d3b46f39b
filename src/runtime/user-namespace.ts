import type { ChildProcess } from "node:child_process";
import { closeSync, writeFileSync } from "node:fs";
import { CooperError, errnoOf } from "../errors.js";
import { holdNamespace, killed, openNamespaceOf } from "./attendants.js";
import type { HelperIdMapping } from "./id-mapping.js";
import { claimIds } from "./id-ranges.js";
import { AT_FDCWD, cloneMount, close, mapOwners } from "./syscalls.js";
import type { OwnUserNamespace, SandboxPlan } from "./types.js";

interface MadeNamespace extends HelperIdMapping, Disposable {}

/**
 * For the processes of one build or container, which share it with nobody else. Nothing is made before it is asked for,
 * and asked again it tries again where it failed. Whoever has it disposes it, when none of its processes is left.
 */
export function ownUserNamespace(size: number): OwnUserNamespace {
  let made: Promise<MadeNamespace> | undefined;
  return {
    size,
    open: (place) => {
      const making = (made ??= make(size, place));
      making.catch(() => {
        if (made === making) made = undefined;
      });
      return making;
    },
    [Symbol.asyncDispose]: async () => {
      const making = made;
      made = undefined;
      const [found] = await Promise.allSettled([making]);
      if (found.status === "fulfilled") found.value?.[Symbol.dispose]();
    },
  };
}

type Place = Parameters<OwnUserNamespace["open"]>[0];

async function make(size: number, { scratchDir, userNamespace }: Place): Promise<MadeNamespace> {
  if (userNamespace) throw insideAnother();
  const claimed = claimIds(size);
  let holder: ChildProcess | undefined;
  let held: number | undefined;
  try {
    const child = await holdNamespace("user", [], (started) => (holder = started));
    for (const kind of ["uid", "gid"] as const)
      writeFileSync(`/proc/${child.pid ?? 0}/${kind}_map`, `0 ${claimed[kind]} ${size}\n`);
    const { fd, path } = openNamespaceOf(child.pid ?? 0, "user");
    held = fd;
    tryMapping(fd, scratchDir);
    return {
      namespace: path,
      uid: claimed.uid,
      gid: claimed.gid,
      size,
      [Symbol.dispose]: () => {
        closeSync(fd);
        claimed[Symbol.dispose]();
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

function insideAnother(): CooperError {
  return new CooperError(
    "unsupported",
    "a user namespace of its own for a process needs cooper to run as root",
    {
      hint: "leave out --userns=auto: where cooper does not run as root, the root of a process is nobody on this machine anyway",
    },
  );
}

/** Throws `unsupported` for users that the plan names and its user namespace does not have. */
export function refuseForeignIds(plan: SandboxPlan): void {
  const { userNamespace } = plan.security;
  if (userNamespace === "shared") return;
  const { size } = userNamespace;
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
