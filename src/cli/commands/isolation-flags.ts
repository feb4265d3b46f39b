import { resolve } from "node:path";
import type { IsolationOptions } from "../../cooper.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import type { World } from "../world.js";

const MODES = ["auto", "native", "oci", "chroot"] as const satisfies readonly IsolationOptions["isolation"][];

/** The flags of every command that runs processes: how these are kept apart from the machine. */
export const driverFlags = {
  isolation: {
    kind: "string",
    value: "MODE",
    help: "auto (default: the first that works), native, oci or chroot",
  },
  runtime: {
    kind: "string",
    value: "NAME|PATH",
    help: "the OCI runtime for --isolation oci, such as crun or runc",
  },
} as const satisfies FlagTable;

/** The flags and the environment as options. Users of buildah have its variable in their CI; a flag wins over both. */
export function driverOptions(
  { isolation: flag, runtime }: Flags<typeof driverFlags>,
  { env, cwd }: Pick<World, "env" | "cwd">,
): IsolationOptions {
  const isolation = flag === undefined ? fromEnvironment(env, runtime) : modeOf("--isolation", flag);
  if (runtime === undefined) return isolation === undefined ? {} : { isolation };
  if (runtime === "") throw usage("--runtime: an empty name is no runtime");
  if (isolation !== undefined && isolation !== "auto" && isolation !== "oci") {
    throw usage(`--runtime has no part in --isolation ${isolation}`);
  }
  return { isolation: "oci", runtime: runtime.includes("/") ? resolve(cwd, runtime) : runtime };
}

function fromEnvironment(env: World["env"], runtime: string | undefined): IsolationOptions["isolation"] {
  if (runtime !== undefined) return undefined;
  for (const name of ["COOPER_ISOLATION", "BUILDAH_ISOLATION"]) {
    const text = env[name] ?? "";
    if (text !== "") return modeOf(`${name} in the environment`, text);
  }
  return undefined;
}

function modeOf(name: string, text: string): (typeof MODES)[number] {
  if (text === "rootless") return rootless(name);
  const mode = MODES.find((known) => known === text);
  if (mode) return mode;
  throw usage(`${name}: "${text}" is not one of: ${MODES.join(", ")}`);
}

/** buildah's word for an OCI runtime that an ordinary user starts; for root that would be something else. */
function rootless(name: string): "oci" {
  if (process.geteuid?.() !== 0) return "oci";
  throw usage(`${name}: "rootless" is for ordinary users, and this is root: say oci`);
}
