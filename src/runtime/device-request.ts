import { readdirSync, realpathSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { posix } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { isSystemPlace } from "./stubs.js";
import type { SandboxDevice, SandboxPlan } from "./types.js";

/** In the /dev of a sandbox, these are its own. */
const OWN = ["fd", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"];
/** What every process may read and write. */
const COMMON = ["full", "null", "random", "tty", "urandom", "zero"];

/**
 * Each `HOST[:CONTAINER][:rwm]` as podman reads it: the device node there, or all below a directory. Links are resolved.
 * Throws `usage`, `not-found` and `io`, naming the option.
 */
export function parseDevices(texts: readonly string[]): readonly SandboxDevice[] {
  const devices = new Map<string, SandboxDevice>();
  const permissionsOf = new Map<string, string>();
  for (const text of texts) {
    for (const device of parseDevice(text)) {
      const { target, source, permissions } = device;
      if (devices.has(target)) throw usage(text, `two devices cannot be at ${target}`);
      devices.set(target, device);
      // The kernel knows devices by their numbers, and not by the paths that lead to them.
      const { kind, number } = lookAtDevice(source);
      const key = `${kind} ${number}`;
      const before = permissionsOf.get(key) ?? permissions;
      if (before !== permissions)
        throw usage(text, `${source} has the permissions ${before} already, and can have no others`);
      permissionsOf.set(key, permissions);
    }
  }
  return [...devices.values()];
}

function parseDevice(text: string): readonly SandboxDevice[] {
  const { given, target, permissions } = partsOf(text);
  checkDeviceTarget(target, text);
  const source = realPath(given, text);
  const stat = statSync(source);
  const found = stat.isDirectory() ? devicesBelow(source, target) : [[source, target] as const];
  if (found.length === 0) throw usage(text, `no device lies below ${given}`);
  if (!stat.isDirectory() && !isDevice(stat)) throw usage(text, `${given} is no device`);
  for (const [node] of found) {
    if (permissions !== "rwm" && isCommon(node))
      throw usage(text, `every process may read and write ${node}, whatever stands here`);
  }
  return found.map(([node, place]) => ({ source: node, target: place, permissions }));
}

function partsOf(text: string): {
  readonly given: string;
  readonly target: string;
  readonly permissions: string;
} {
  const [given = "", second, third, ...more] = text.split(":");
  if (!given.startsWith("/")) {
    if (/^[^/]+\/[^/=]+=/.test(text))
      throw new CooperError("unsupported", `--device ${text}: devices of CDI are not supported`, {
        hint: "give the path of the device on this machine, such as /dev/fuse",
      });
    throw usage(text, "it is not HOST[:CONTAINER][:PERMISSIONS] with absolute paths, such as /dev/fuse:rw");
  }
  const isTarget = second !== undefined && !isPermissions(second);
  const permissions = third ?? (isTarget ? undefined : second) ?? "rwm";
  if (more.length > 0 || (third !== undefined && !isTarget))
    throw usage(text, "there is too much of it: it is HOST[:CONTAINER][:PERMISSIONS]");
  if (!isPermissions(permissions))
    throw usage(text, `the permissions "${permissions}" are not some of r, w and m`);
  if (isTarget && !second.startsWith("/"))
    throw usage(text, `"${second}" is neither an absolute path nor some of r, w and m`);
  const inOrder = "rwm".replaceAll(/./g, (letter) => (permissions.includes(letter) ? letter : ""));
  return { given, target: posix.normalize(isTarget ? second : given), permissions: inOrder };
}

function isPermissions(text: string): boolean {
  return /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;
}

/** `text`: what the user wrote. Throws `usage`. */
export function checkDeviceTarget(target: string, text: string): void {
  const [, dev, name = ""] = target.split("/");
  const isOwn = dev === "dev" ? name === "" || OWN.includes(name) : isSystemPlace(target);
  if (isOwn && !target.startsWith("/dev/shm/"))
    throw usage(text, `${target} is the sandbox's own, and no place for a device`);
  if (target.includes("\0") || target.endsWith("/"))
    throw usage(text, `"${target}" cannot be the path of a device`);
}

function realPath(path: string, text: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? ""))
      throw new CooperError("not-found", `--device ${text}: ${path} does not exist`, { cause: error });
    throw ioError("look at", path, error);
  }
}

function isDevice(stat: Stats): boolean {
  return stat.isCharacterDevice() || stat.isBlockDevice();
}

/** In the order of their names. Links in there stand for devices elsewhere. */
function devicesBelow(dir: string, target: string): readonly (readonly [string, string])[] {
  const entries = readdirSync(dir, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const [path, place] = [posix.join(dir, entry.name), posix.join(target, entry.name)];
    if (entry.isDirectory()) return devicesBelow(path, place);
    return entry.isCharacterDevice() || entry.isBlockDevice() ? [[path, place] as const] : [];
  });
}

function isCommon(path: string): boolean {
  const { rdev } = statSync(path);
  return COMMON.some((name) => statSync(`/dev/${name}`, { throwIfNoEntry: false })?.rdev === rdev);
}

/** What a device is now. Throws `not-found`, `usage`. */
export function lookAtDevice(source: string): {
  readonly kind: "character" | "block";
  readonly number: number;
} {
  const stat = statSync(realPath(source, source));
  if (!isDevice(stat)) throw usage(source, `${source} is no device`);
  return { kind: stat.isBlockDevice() ? "block" : "character", number: stat.rdev };
}

/** The devices of which a process may do less than everything, which the kernel must be told. */
export function narrowedDevices({
  devices,
  security,
}: Pick<SandboxPlan, "devices" | "security">): readonly SandboxDevice[] {
  const mayMake = security.capabilities.includes("CAP_MKNOD");
  return devices.filter(({ permissions }) =>
    ["r", "w", ...(mayMake ? ["m"] : [])].some((letter) => !permissions.includes(letter)),
  );
}

function usage(text: string, reason: string): CooperError {
  return new CooperError("usage", `--device ${text}: ${reason}`);
}
