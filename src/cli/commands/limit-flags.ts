import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { IsolationOptions, ProcessLimit } from "../../cooper.js";
import { CooperError, ioError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import type { World } from "../world.js";

/** The flags of `build` and `run` that say what processes may do and use. */
export const limitFlags = {
  "cap-add": { kind: "list", value: "CAP", help: "give this capability, or ALL; may be repeated" },
  "cap-drop": { kind: "list", value: "CAP", help: "take this capability away, or ALL; may be repeated" },
  "security-opt": {
    kind: "list",
    value: "OPTION",
    help: "seccomp=FILE or =unconfined, no-new-privileges, label=disable, apparmor=unconfined",
  },
  ulimit: {
    kind: "list",
    value: "NAME=SOFT[:HARD]",
    help: "a resource limit, such as nofile=1024:4096; host: all of cooper's own",
  },
  memory: {
    kind: "string",
    short: "m",
    value: "SIZE",
    help: "memory for the processes of one step, such as 512m",
  },
  "memory-swap": {
    kind: "string",
    value: "SIZE",
    help: "memory and swap together; -1: no limit (default: twice --memory)",
  },
  cpus: { kind: "string", value: "N", help: "processors, such as 1.5" },
  "pids-limit": {
    kind: "string",
    value: "N",
    help: "processes and threads at once (default 4096; 0 or -1: no limit)",
  },
  device: {
    kind: "list",
    value: "HOST[:CONTAINER][:rwm]",
    help: "show processes a device of this machine, or a directory of them; may be repeated",
  },
  userns: {
    kind: "string",
    value: "MODE",
    help: "user namespace of processes: host, or auto[:size=N], whose root is nobody outside",
  },
  "shm-size": {
    kind: "string",
    value: "SIZE",
    help: "size of /dev/shm, such as 1g (default 64m; 0: no limit)",
  },
} as const satisfies FlagTable;

type Given = Flags<typeof limitFlags>;

/** The flags as options; what was not given stays out. Throws `usage` and `unsupported`, naming the flag. */
export function isolationOptions(given: Given, world: World): IsolationOptions {
  const { ulimit, "cap-add": capAdd, "cap-drop": capDrop, "shm-size": shm, device, userns } = given;
  return {
    ...(capAdd.length === 0 ? {} : { capAdd: capAdd.flatMap((text) => text.split(",")) }),
    ...(capDrop.length === 0 ? {} : { capDrop: capDrop.flatMap((text) => text.split(",")) }),
    ...Object.assign({}, ...given["security-opt"].map((text) => securityOption(text, world))),
    ...(ulimit.length === 0 ? {} : { ulimits: ulimit.map(ulimitOf) }),
    ...limitOptions(given),
    ...(device.length === 0 ? {} : { devices: device }),
    ...(userns === undefined ? {} : { userns: usernsOf(userns) }),
    ...(shm === undefined ? {} : { shmBytes: bytesOf("--shm-size", shm) }),
  };
}

function usernsOf(text: string): NonNullable<IsolationOptions["userns"]> {
  if (text === "host" || text === "auto") return text;
  const [, size] = /^auto:size=(\d{1,10})$/.exec(text) ?? [];
  if (size !== undefined) return { size: Number(size) };
  throw usage(`--userns: "${text}" is neither host, auto nor auto:size=N`);
}

function limitOptions(given: Given): IsolationOptions {
  const { memory, "memory-swap": swap, cpus, "pids-limit": pids } = given;
  if (cpus !== undefined && !/^\d+(?:\.\d+)?$/.test(cpus)) throw usage(`--cpus: "${cpus}" is not a number`);
  if (pids !== undefined && !/^(?:-1|\d{1,9})$/.test(pids))
    throw usage(`--pids-limit: "${pids}" is not a whole number`);
  return {
    ...(memory === undefined ? {} : { memoryBytes: bytesOf("--memory", memory) }),
    ...(swap === undefined ? {} : { memorySwapBytes: swap === "-1" ? -1 : bytesOf("--memory-swap", swap) }),
    ...(cpus === undefined ? {} : { cpus: Number(cpus) }),
    ...(pids === undefined ? {} : { pidsLimit: Number(pids) }),
  };
}

/** Docker writes some of these with a colon, podman takes both. */
function securityOption(text: string, world: World): Partial<IsolationOptions> {
  const [, name = text, value] = /^([^:=]+)[:=](.*)$/s.exec(text) ?? [];
  switch (name) {
    case "no-new-privileges":
      if (value === undefined || value === "true") return { noNewPrivileges: true };
      if (value === "false") return { noNewPrivileges: false };
      throw usage(`--security-opt no-new-privileges: "${value}" is neither true nor false`);
    case "seccomp":
      if (value === "unconfined") return { seccomp: value };
      if (value !== undefined && value !== "") return { seccomp: readProfile(value, world) };
      break;
    case "label":
      // No label and no profile is ever put on a process.
      if (value === "disable") return {};
      break;
    case "apparmor":
      if (value === "unconfined") return {};
      break;
  }
  throw new CooperError("unsupported", `--security-opt ${text} is not supported`, {
    hint: "it can be seccomp=FILE, seccomp=unconfined, no-new-privileges, label=disable or apparmor=unconfined",
  });
}

const LARGEST_PROFILE = 4 * 1024 * 1024;

function readProfile(
  path: string,
  world: World,
): Exclude<IsolationOptions["seccomp"], "unconfined" | undefined> {
  try {
    const file = resolve(world.cwd, path);
    const { size } = statSync(file);
    if (size > LARGEST_PROFILE) throw usage(`--security-opt seccomp: ${path} is too large for a profile`);
    return { profile: readFileSync(file, "utf8"), path };
  } catch (error) {
    if (error instanceof CooperError) throw error;
    throw ioError("read the seccomp profile", path, error);
  }
}

function ulimitOf(text: string): ProcessLimit | "host" {
  if (text === "host") return text;
  const [, name, soft, hard = soft] =
    /^([a-z]+)=(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?$/.exec(text) ?? [];
  if (name === undefined || soft === undefined || hard === undefined)
    throw usage(`--ulimit: "${text}" is not NAME=SOFT[:HARD], such as nofile=1024:4096`);
  const [from, to] = [soft, hard].map((value) => (value === "unlimited" ? -1 : Number(value)));
  return { name, soft: from ?? 0, hard: to ?? 0 };
}

const UNITS = "bkmgtp";

/** `64m`, `1.5g`, `512MiB`, or bytes: units are powers of 1024, as in docker and podman. */
export function bytesOf(flag: string, text: string): number {
  const [, number, unit = "b"] = /^(\d+(?:\.\d+)?) ?([bkmgtp])?i?b?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * 1024 ** UNITS.indexOf(unit.toLowerCase()));
  if (number === undefined || !Number.isSafeInteger(bytes))
    throw usage(`${flag}: "${text}" is not a size, such as 64m or 1g`);
  return bytes;
}
