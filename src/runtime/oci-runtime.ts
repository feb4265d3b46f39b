import { accessSync, constants, statSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import { CooperError } from "../errors.js";
import { HOST_PATH } from "./host-path.js";

/** An OCI runtime of this machine, and how it is told to leave cgroups alone. */
export interface OciRuntime {
  /** As the user knows it: `crun`. */
  readonly name: string;
  readonly path: string;
  /** The first line of what it says of itself: `crun version 1.8.1`. */
  readonly version: string;
  /** Global options, before the command. */
  readonly flags: readonly string[];
}

const PREFERRED = ["crun", "runc"];

/**
 * The OCI runtime of that name or absolute path; without one, crun or runc, whichever is installed. Asks it for its
 * version, which takes some ms. Throws `sandbox` when there is none, or when it does not answer as a runtime does.
 */
export function findRuntime(name?: string): OciRuntime {
  const names = name === undefined ? PREFERRED : [name];
  for (const each of names) {
    const path = pathOf(each);
    if (path !== undefined) return describe(each, path);
  }
  if (name === undefined) {
    throw new CooperError("sandbox", "no OCI runtime is installed: neither crun nor runc was found", {
      hint: "install the package crun or runc, or name another with --runtime",
    });
  }
  throw new CooperError("sandbox", `the OCI runtime ${name} does not exist, or cannot be executed`, {
    hint: `--runtime takes an absolute path, or a name to look for in ${HOST_PATH}`,
  });
}

function pathOf(name: string): string | undefined {
  if (isAbsolute(name)) return isProgram(name) ? name : undefined;
  if (name.includes("/") || name === "") return undefined;
  return HOST_PATH.split(":")
    .map((dir) => join(dir, name))
    .find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function describe(name: string, path: string): OciRuntime {
  const version = versionOf(name, path);
  return { name: basename(name), path, version, flags: flagsOf(version) };
}

function versionOf(name: string, path: string): string {
  try {
    const { execFileSync } = process.getBuiltinModule("node:child_process");
    const said = execFileSync(path, ["--version"], {
      encoding: "utf8",
      env: { PATH: HOST_PATH },
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 10_000,
    });
    const [line = ""] = said.trim().split("\n");
    return line;
  } catch (error) {
    throw new CooperError("sandbox", `${name} is no OCI runtime: ${path} --version failed`, { cause: error });
  }
}

/** crun has an option for it; runc goes on without cgroups where it takes them to be forbidden. */
function flagsOf(version: string): readonly string[] {
  if (version.startsWith("crun")) return ["--cgroup-manager=disabled"];
  return version.startsWith("runc") ? ["--rootless", "true"] : [];
}
