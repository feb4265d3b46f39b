import { randomBytes } from "node:crypto";
import { constants } from "node:os";
import { posix } from "node:path";
import {
  DEFAULT_PATH,
  envOf,
  networkFiles,
  noticeOfProxies,
  resolveUser,
  refuseUnserved,
  workdirOf,
} from "../builder/index.js";
import type { RunImageOptions, TransferOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { ProcessConfig } from "../image/index.js";
import { openIsolation } from "./isolation.js";
import { memoryText } from "../runtime/index.js";
import type { ExitStatus, Need, SandboxNotice, SandboxPlan } from "../runtime/index.js";
import { outlookOf } from "./outlook.js";
import { findImage } from "./pull.js";
import { ownIds, runSettings } from "./run-settings.js";
import { stepNetworks } from "./step-network.js";
import { openVolumes, parseVolumes } from "./volumes.js";
import type { Workshop } from "./workshop.js";

/** Runs a process in a fresh container of an image, which is gone when this returns. Resolves to its exit code, 128+n for signal n. */
export async function runImage(
  workshop: Workshop,
  nameOrId: string,
  options: RunImageOptions & TransferOptions,
): Promise<number> {
  const signal = options.signal ?? new AbortController().signal;
  const asked = runSettings(options, workshop.privileged);
  await using _ids = ownIds(asked);
  const { network: settings, ...powers } = asked;
  const given = parseVolumes(options.volumes ?? []);
  const isolation = openIsolation(workshop, options, options.onEvent);
  const outlook = outlookOf(workshop, isolation, options, { settings: asked, volumes: given });
  if (outlook !== undefined) await refuseUnserved(outlook, needsOf(options));
  await using networks = stepNetworks(isolation, (event) => options.onEvent?.(event));
  if (settings.mode === "private") networks.prepare();
  const image = await findImage(workshop, nameOrId, "missing", options);
  await using _lease = workshop.store.lease(image.config.rootfs.diff_ids);
  const { config } = image.config;
  const argv = commandOf(config, options);
  await using rootfs = await (await isolation.snapshotter()).prepare(image.config.rootfs.diff_ids, signal);
  using view = await (await workshop.snapshotter()).view(image.config.rootfs.diff_ids);
  const user = resolveUser(
    view,
    options.user ?? (config.User === undefined || config.User === "" ? "0" : config.User),
  );
  const network = await networks.of(settings.mode);
  const files = networkFiles(workshop, settings, network, { hostname: randomBytes(6).toString("hex") });
  const piped = options.onOutput !== undefined;
  await using volumes = await openVolumes(given, workshop.scratchDir);
  const env = environmentOf(config, options, user.home, files.hostname);
  const warn = ({ code, message }: SandboxNotice): void =>
    options.onEvent?.({ type: "warning", code, message });
  await noticeOfProxies(env, network, { notice: warn });
  const plan: SandboxPlan = {
    rootfs,
    argv,
    env,
    cwd: options.workdir === undefined ? workdirOf(config) : posix.resolve("/", options.workdir),
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    hostname: files.hostname,
    ...network.plan,
    mounts: [...files.mounts, ...volumes.mounts],
    ...powers,
    stdin: options.interactive === true || options.tty === true ? "inherit" : "null",
    stdio: options.tty === true ? "tty" : piped ? "pipe" : "inherit",
  };
  const sandbox = await isolation.sandbox();
  const status = await sandbox.run(plan, {
    signal,
    onNotice: warn,
    ...(options.onOutput ? { onOutput: options.onOutput } : {}),
  });
  const { memoryBytes } = plan.limits;
  if (status.outOfMemory === true && memoryBytes !== undefined)
    warn({ code: "memory-limit", message: `the memory limit of ${memoryText(memoryBytes)} was reached` });
  return exitCodeOf(status);
}

/** What a RUN would ask for by its own flags, or cannot ask for at all. */
function needsOf({ network, tty }: RunImageOptions): readonly Need[] {
  return [
    ...(network === "none" ? [{ kind: "network-none", what: "--network=none" } as const] : []),
    ...(tty === true ? [{ kind: "terminal", what: "--tty" } as const] : []),
  ];
}

function commandOf(config: ProcessConfig, options: RunImageOptions): readonly string[] {
  const entrypoint = options.entrypoint ?? config.Entrypoint ?? [];
  // As docker: a new entrypoint drops the image's Cmd.
  const command = options.command ?? (options.entrypoint === undefined ? (config.Cmd ?? []) : []);
  const argv = [...entrypoint, ...command];
  if (argv.length === 0) {
    throw new CooperError("usage", "the image names no command to run", {
      hint: "give one after the image: cooper run --rm IMAGE COMMAND",
    });
  }
  return argv;
}

function environmentOf(
  config: ProcessConfig,
  options: RunImageOptions,
  home: string,
  hostname: string,
): Record<string, string> {
  const env: Record<string, string> = { PATH: DEFAULT_PATH, HOME: home, HOSTNAME: hostname };
  if (options.tty === true) env["TERM"] = "xterm";
  Object.assign(env, Object.fromEntries(envOf(config)));
  for (const [name, value] of Object.entries(options.env ?? {})) {
    const given = value ?? process.env[name];
    if (given !== undefined) env[name] = given;
  }
  return env;
}

function exitCodeOf(status: ExitStatus): number {
  return status.kind === "exited"
    ? status.code
    : 128 + (constants.signals[status.signal as NodeJS.Signals] ?? 0);
}
