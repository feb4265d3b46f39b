import type { RunImageOptions, TransferOptions } from "../../cooper.js";
import { CooperError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { openProgress } from "../progress/open.js";
import type { World } from "../world.js";
import { driverFlags, driverOptions } from "./isolation-flags.js";
import { keyValues } from "./key-values.js";
import { volumeOf } from "./mount-flags.js";
import { isolationOptions, limitFlags } from "./limit-flags.js";
import { networkFlags, networkOptions } from "./network-flags.js";
import { transferFlags, transferOptions } from "./registry-flags.js";

/** As a shell reports a process that died of SIGPIPE. */
const BROKEN_PIPE = 128 + 13;

const flags = {
  rm: { kind: "boolean", help: "remove the container when it ends (required: containers are not kept yet)" },
  interactive: { kind: "boolean", short: "i", help: "connect stdin" },
  tty: { kind: "boolean", short: "t", help: "give the process a terminal" },
  env: {
    kind: "list",
    short: "e",
    value: "K[=V]",
    help: "set a variable; without a value, from the environment",
  },
  volume: {
    kind: "list",
    short: "v",
    value: "SRC:DEST[:OPTS]",
    help: "show a path of this machine inside: ro, rw, O (writes are discarded)",
  },
  workdir: { kind: "string", short: "w", value: "DIR", help: "working directory" },
  user: { kind: "string", short: "u", value: "USER[:GROUP]", help: "user to run as" },
  entrypoint: { kind: "string", value: "COMMAND|JSON", help: "replace the image's entrypoint" },
  hostname: { kind: "string", short: "h", value: "NAME", help: "host name" },
  ...networkFlags,
  ...limitFlags,
  ...driverFlags,
  ...transferFlags,
} as const satisfies FlagTable;

export const run = command({
  usage: "[options] IMAGE [COMMAND...]",
  flags,
  operands: { min: 1 },
  optionsFirst: true,
  notes: ["Options come before the image; everything after it belongs to the command."],
  unsupported:
    "annotation arch attach,a blkio-weight blkio-weight-device cgroup-conf cgroup-parent cgroupns " +
    "cgroups chrootdirs cidfile conmon-pidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpuset-cpus " +
    "cpuset-mems decryption-key detach,d detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps " +
    "device-write-iops disable-content-trust env-file env-host env-merge expose gidmap gpus group-add " +
    "group-entry health-cmd health-interval health-on-failure health-retries health-start-period health-timeout hostuser " +
    "http-proxy image-volume init init-path ip ip6 ipc label,l label-file log-driver log-opt mac-address " +
    "memory-reservation memory-swappiness mount name network-alias no-healthcheck oom-kill-disable " +
    "oom-score-adj os passwd passwd-entry personality pid pidfile platform pod pod-id-file preserve-fds privileged " +
    "publish,p publish-all,P pull quiet,q rdt-class read-only read-only-tmpfs replace requires restart rmi rootfs " +
    "sdnotify seccomp-policy secret sig-proxy stop-signal stop-timeout subgidname subuidname sysctl " +
    "systemd timeout tmpfs tz uidmap umask unsetenv unsetenv-all uts variant volume-driver volumes-from",
  run: async ({ flags: given, operands: [image = "", ...argv] }, world) => {
    const options = runOptions(given, argv, world);
    const progress = openProgress("auto", world);
    const readerGone = new AbortController();
    const onOutput = (stream: "stdout" | "stderr", chunk: Uint8Array): void => {
      world[stream].write(chunk);
      // `cooper run … | head`: a process that writes to nobody must end, as it would outside.
      if (stream === "stdout" && world.stdout.closed) readerGone.abort();
    };
    try {
      await using cooper = await world.open();
      const signal = AbortSignal.any([world.signal, readerGone.signal]);
      return await cooper.run(image, { ...options, signal, onOutput, onEvent: progress.onEvent });
    } catch (error) {
      if (readerGone.signal.aborted && !world.signal.aborted) return BROKEN_PIPE;
      throw error;
    } finally {
      progress.finish();
    }
  },
});

type Given = Flags<typeof flags>;

function runOptions(given: Given, argv: readonly string[], world: World): RunImageOptions & TransferOptions {
  if (!given.rm) {
    throw new CooperError("unsupported", "cooper run does not keep containers yet: add --rm", {
      hint: "with --rm the container is removed when its process ends",
    });
  }
  if (given.tty && !world.stdin.isTerminal)
    throw usage("cooper run: --tty needs a terminal, and stdin is not one");
  const { entrypoint, env, volume, workdir, user } = given;
  return {
    ...transferOptions(given),
    ...networkOptions(given),
    ...isolationOptions(given, world),
    ...driverOptions(given, world),
    ...(argv.length === 0 ? {} : { command: argv }),
    ...(entrypoint === undefined ? {} : { entrypoint: entrypointOf(entrypoint) }),
    ...(env.length === 0 ? {} : { env: keyValues("--env", env, undefined) }),
    ...(volume.length === 0 ? {} : { volumes: volume.map((text) => volumeOf(text, world)) }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(user === undefined ? {} : { user }),
    interactive: given.interactive ?? false,
    tty: given.tty ?? false,
  };
}

/** A JSON array is the whole entrypoint, an empty string removes it, anything else is one program. */
function entrypointOf(text: string): readonly string[] {
  if (text === "") return [];
  if (!text.startsWith("[")) return [text];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (!Array.isArray(value) || !value.every((word): word is string => typeof word === "string")) {
    throw usage(`--entrypoint: ${text} is not a JSON array of strings`);
  }
  return value;
}
