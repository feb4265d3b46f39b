import { posix } from "node:path";
import type { DiffId, HistoryEntry, ImageConfig, Platform, ProcessConfig } from "../image/index.js";

/** What the next step of a stage starts from. Immutable: a step makes a new one. */
export interface StageState {
  readonly config: ImageConfig;
  /**
   * ARGs that were declared in this stage (or inherited from the stage it is FROM), in order, with the values in force:
   * that of an ENV which came later, too. Undefined: no value.
   */
  readonly args: ReadonlyMap<string, string | undefined>;
  /** True once this stage has set CMD itself: a later ENTRYPOINT then leaves it alone. */
  readonly cmdSet: boolean;
}

/** Search path of a process whose image names none. Source: docker, BuildKit system.DefaultPathEnvUnix. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEFAULT_SHELL: readonly string[] = ["/bin/sh", "-c"];

/** `FROM scratch`. */
export function scratchConfig(platform: Platform): ImageConfig {
  return {
    ...platform,
    config: { Env: [`PATH=${DEFAULT_PATH}`], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [] },
    history: [],
  };
}

/** Environment of the config as a map; the last of two equal names wins. */
export function envOf(config: ProcessConfig): Map<string, string> {
  const env = new Map<string, string>();
  for (const line of config.Env ?? []) {
    const equals = line.indexOf("=");
    if (equals > 0) env.set(line.slice(0, equals), line.slice(equals + 1));
  }
  return env;
}

/** What a variable means in an instruction: of ENV and ARG the one that came later. Source: BuildKit. */
export function lookupIn(state: StageState): (name: string) => string | undefined {
  const env = envOf(state.config.config);
  return (name) => state.args.get(name) ?? env.get(name);
}

/** SHELL in force. */
export function shellOf(config: ProcessConfig): readonly string[] {
  return config.Shell && config.Shell.length > 0 ? config.Shell : DEFAULT_SHELL;
}

/** WORKDIR in force, absolute. */
export function workdirOf(config: ProcessConfig): string {
  return posix.resolve("/", config.WorkingDir ?? "/");
}

/** A path of an instruction made absolute; a trailing slash (or "/.") stays, since COPY reads it. */
export function absolutePath(config: ProcessConfig, path: string): string {
  const absolute = posix.resolve(workdirOf(config), path);
  return /(?:^|\/)\.{0,2}$/.test(path) && absolute !== "/" && path !== "" ? `${absolute}/` : absolute;
}

/** What a step made, to be put on top of its state. */
export interface StepOutcome {
  readonly config?: ProcessConfig;
  /** Variables that ENV sets: their values are in force from now on, be they ARGs too. */
  readonly variables?: ReadonlyMap<string, string>;
  /** The instruction as the history tells it, its variables filled in. */
  readonly createdBy?: string;
  readonly author?: string;
  readonly diffId?: DiffId;
}

/** The image of a state after a step. `created` is RFC 3339. */
export function withStep(
  config: ImageConfig,
  outcome: StepOutcome,
  createdBy: string,
  created: string,
): ImageConfig {
  const author = outcome.author ?? config.author;
  const entry: HistoryEntry = {
    created,
    created_by: createdBy,
    ...(outcome.author === undefined ? {} : { author: outcome.author }),
    ...(outcome.diffId === undefined ? { empty_layer: true } : {}),
  };
  const diffIds =
    outcome.diffId === undefined ? config.rootfs.diff_ids : [...config.rootfs.diff_ids, outcome.diffId];
  return {
    ...config,
    created,
    ...(author === undefined ? {} : { author }),
    config: outcome.config ?? config.config,
    rootfs: { type: "layers", diff_ids: diffIds },
    history: [...config.history, entry],
  };
}

/** The bytes of a config blob: same config, same bytes (fields in a fixed order, empty ones left out). */
export function serializeConfig(image: ImageConfig): Buffer {
  const c = image.config;
  const some = <V extends object>(value: V | undefined): V | undefined =>
    value && Object.keys(value).length > 0 ? value : undefined;
  const document = {
    created: image.created,
    author: image.author,
    architecture: image.architecture,
    ...(image.variant === undefined ? {} : { variant: image.variant }),
    os: image.os,
    config: {
      User: c.User === "" ? undefined : c.User,
      ExposedPorts: some(c.ExposedPorts),
      Env: some(c.Env),
      Entrypoint: c.Entrypoint,
      Cmd: c.Cmd,
      Volumes: some(c.Volumes),
      WorkingDir: c.WorkingDir,
      Labels: some(c.Labels),
      StopSignal: c.StopSignal,
      Healthcheck: c.Healthcheck,
      OnBuild: some(c.OnBuild),
      Shell: c.Shell,
    },
    rootfs: image.rootfs,
    history: image.history,
  };
  return Buffer.from(JSON.stringify(document));
}
