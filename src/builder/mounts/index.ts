import { posix } from "node:path";
import { withPlace } from "../../errors.js";
import type { Flag, RunInstruction, RunMount } from "../../parser/index.js";
import { parseRunMount } from "../../parser/index.js";
import type { SandboxMount } from "../../runtime/index.js";
import type { BuildEngine } from "../engine.js";
import { expandAt } from "../expand.js";
import type { Expansion } from "../expand.js";
import { checkTarget } from "../run-flags.js";
import type { StageOptions } from "../stage.js";
import type { StageState } from "../state.js";
import { lookupIn, workdirOf } from "../state.js";
import { openOrigin } from "../steps/origin.js";
import { prepareBind } from "./bind.js";
import { prepareCache } from "./cache.js";
import { commonOf, componentOf } from "./common.js";
import { prepareSecret } from "./secret.js";
import { prepareSsh } from "./ssh.js";
import type { MountWork, OpenMount, PreparedMount } from "./types.js";
import { plainMount } from "./types.js";

export type { OpenMount, PreparedMount } from "./types.js";

/**
 * The `--mount`s of a RUN, in their order, with all that its key needs of them. Throws `syntax`, `usage` and `not-found`
 * (a bind's source) with the place of the flag.
 */
export async function prepareMounts(
  instruction: RunInstruction,
  at: Expansion,
  state: StageState,
  options: StageOptions,
): Promise<readonly PreparedMount[]> {
  const flags = instruction.flags.filter(({ name }) => name === "mount");
  const prepared: PreparedMount[] = [];
  let agents = 0;
  for (const [index, flag] of flags.entries()) {
    try {
      const mount = readMount(flag, at, state);
      const site = { index, workdir: workdirOf(state.config.config), agent: agents };
      if (mount.type === "ssh") agents += 1;
      prepared.push(placed(await prepare(mount, site, flag, options), flag, at));
    } catch (error) {
      throw withPlace(error, at.source, flag.span);
    }
  }
  return prepared;
}

function readMount(flag: Flag, at: Expansion, state: StageState): RunMount {
  const lookup = lookupIn(state);
  const { span, value = "" } = flag;
  const mount = parseRunMount(value, (text) => expandAt(at.source, { text, span }, at.escape, lookup));
  if (mount.target !== undefined) checkTarget(posix.resolve(workdirOf(state.config.config), mount.target));
  return mount;
}

/** Where a mount stands. */
export interface MountSite {
  /** Among those of its RUN, from 0. */
  readonly index: number;
  readonly workdir: string;
  /** How many mounts of type ssh stand before it. */
  readonly agent: number;
}

async function prepare(
  mount: RunMount,
  site: MountSite,
  flag: Flag,
  options: StageOptions,
): Promise<PreparedMount> {
  const { engine, stage } = options;
  switch (mount.type) {
    case "bind":
      return prepareBind(mount, site, await openOrigin(stage.origins.get(flag), options), engine);
    case "cache": {
      const origin = stage.origins.get(flag);
      return prepareCache(mount, site, origin && (await openOrigin(origin, options)));
    }
    case "tmpfs": {
      const { size, mode } = mount;
      const made: SandboxMount = {
        type: "tmpfs",
        ...commonOf(mount, site),
        ...(size === undefined ? {} : { sizeBytes: size }),
        ...(mode === undefined ? {} : { mode }),
      };
      return { components: [componentOf(mount, site)], open: () => Promise.resolve(plainMount([made])) };
    }
    case "secret":
      return prepareSecret(mount, site);
    case "ssh":
      return prepareSsh(mount, site);
  }
}

/** The same mount; what fails when it is opened is the fault of its flag. */
function placed(mount: PreparedMount, { span }: Flag, { source }: Expansion): PreparedMount {
  const open = async (work: MountWork): Promise<OpenMount> => {
    try {
      return await mount.open(work);
    } catch (error) {
      throw withPlace(error, source, span);
    }
  };
  return { ...mount, open };
}

/** Opens all mounts of a RUN; when one fails, none is left open. Their order in `mounts` is that of the RUN. */
export async function openMounts(
  prepared: readonly PreparedMount[],
  engine: BuildEngine,
): Promise<OpenMount> {
  const work: MountWork = { engine, caches: new Map() };
  const opened = new Map<PreparedMount, OpenMount>();
  const close = async (): Promise<void> => {
    for (const one of [...opened.values()].toReversed()) await one[Symbol.asyncDispose]();
  };
  try {
    for (const mount of byCache(prepared)) opened.set(mount, await mount.open(work));
  } catch (error) {
    await close();
    throw error;
  }
  const inOrder = prepared.flatMap((mount) => opened.get(mount) ?? []);
  return {
    mounts: inOrder.flatMap(({ mounts }) => mounts),
    // Source: BuildKit, where the first of several agents is the one that SSH_AUTH_SOCK names.
    env: Object.assign({}, ...inOrder.toReversed().map(({ env }) => env)) as Record<string, string>,
    [Symbol.asyncDispose]: close,
  };
}

/** Caches first, since waiting for one may take long; in the order of their names. */
function byCache(prepared: readonly PreparedMount[]): readonly PreparedMount[] {
  const caches = prepared.filter(({ cache }) => cache !== undefined);
  const others = prepared.filter(({ cache }) => cache === undefined);
  const name = ({ cache = "" }: PreparedMount): string => cache;
  return [...caches.toSorted((a, b) => (name(a) < name(b) ? -1 : 1)), ...others];
}
