import { resolve } from "node:path";
import type { BuildOptions, BuildOutput, BuildResult } from "../../cooper.js";
import { CooperError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { exitCodeOf, failureEvent } from "../failure.js";
import { openProgress, PROGRESS_MODES } from "../progress/open.js";
import { hexDigits, terminalJson } from "../text.js";
import type { World } from "../world.js";
import { driverFlags, driverOptions } from "./isolation-flags.js";
import { failureFlags, failureOptions } from "./failure-flags.js";
import { keyValues } from "./key-values.js";
import { isolationOptions, limitFlags } from "./limit-flags.js";
import { mountFlags, mountOptions } from "./mount-flags.js";
import { allowOption, entitlementFlags, networkFlags, networkOptions } from "./network-flags.js";
import { transferFlags, transferOptions } from "./registry-flags.js";
import { writeResult } from "./result-file.js";

const FORMATS = ["oci", "docker"] as const satisfies readonly BuildOptions["format"][];

const flags = {
  file: {
    kind: "list",
    short: "f",
    value: "FILE",
    help: "Containerfile, its URL, or - for stdin; several are joined (default: that of CONTEXT)",
  },
  ignorefile: {
    kind: "string",
    value: "FILE",
    help: "the ignore file (default: that of the Containerfile, else of the context)",
  },
  tag: { kind: "list", short: "t", value: "NAME", help: "name the image; may be repeated" },
  target: { kind: "string", value: "STAGE", help: "stop at this stage" },
  platform: {
    kind: "string",
    value: "OS/ARCH",
    help: "what the image is for, such as linux/arm64 (default: this machine)",
  },
  "build-context": {
    kind: "list",
    value: "N=DIR",
    help: "what N in FROM and --from means: DIR, URL, docker-image://NAME or oci-layout://DIR",
  },
  "build-arg": { kind: "list", value: "K[=V]", help: "set an ARG; without a value, from the environment" },
  label: { kind: "list", value: "K=V", help: "add a label" },
  "source-date-epoch": {
    kind: "string",
    value: "N",
    help: "the image's time in seconds since 1970, instead of now (default: $SOURCE_DATE_EPOCH)",
  },
  "rewrite-timestamp": { kind: "boolean", help: "no file of a new layer is later than --source-date-epoch" },
  timestamp: {
    kind: "string",
    value: "N",
    help: "as --source-date-epoch, and the time of every file of a new layer",
  },
  "no-cache": { kind: "boolean", help: "run every step, even those whose inputs did not change" },
  pull: {
    kind: "optional",
    value: "POLICY",
    implied: "always",
    choices: ["always", "missing", "never", "newer", "true", "false"],
    help: "when to ask the registry for base images: always, missing (default), never, newer",
  },
  output: {
    kind: "list",
    short: "o",
    value: "type=oci|docker|local,dest=PATH",
    help: "also write the result here",
  },
  iidfile: { kind: "string", value: "FILE", help: "write the image id to a file" },
  jobs: { kind: "number", value: "N", help: "stages to build at once (default and 0: number of cores)" },
  ...failureFlags,
  quiet: { kind: "boolean", short: "q", help: "print nothing but the image id" },
  progress: {
    kind: "string",
    value: "MODE",
    choices: PROGRESS_MODES,
    help: "auto, plain (with times), tty or json",
  },
  ...networkFlags,
  ...entitlementFlags,
  ...limitFlags,
  ...mountFlags,
  ...driverFlags,
  ...transferFlags,
  layers: { kind: "boolean", help: "keep every step as a layer (always so)" },
  rm: { kind: "boolean", help: "remove what steps ran in (always so)" },
  "force-rm": { kind: "boolean", help: "as --rm" },
  format: {
    kind: "string",
    value: "FORMAT",
    choices: FORMATS,
    help: "media types of the image: oci (default) or docker",
  },
} as const satisfies FlagTable;

export const build = command({
  usage: "[options] CONTEXT | URL | -",
  flags,
  operands: { min: 0, max: 1 },
  unsupported:
    "all-platforms annotation arch attest build-arg-file builder cache-from cache-to cache-ttl " +
    "call cgroup-parent cgroupns check compat-volumes compress cpp-flag cpu-period cpu-quota cpu-shares,c " +
    "cpuset-cpus cpuset-mems cw decryption-key device digestfile disable-compression,D disable-content-trust " +
    "env from group-add hooks-dir http-proxy identity-label inherit-labels ipc " +
    "layer-label load logfile logsplit manifest metadata-file mount no-cache-filter " +
    "omit-history os os-feature os-version pid policy provenance pull-always pull-never push retry-delay " +
    "runtime-flag save-stages sbom sign-by skip-unused-stages " +
    "source-policy-file squash squash-all stage-labels stdin unsetenv unsetlabel " +
    "userns-gid-map userns-gid-map-group userns-uid-map userns-uid-map-user uts variant",
  run: async ({ flags: given, operands }, world) => {
    const options = buildOptions(given, operands, world);
    if (given.progress === "json" && !given.quiet) return buildWithJson(options, given, world);
    const progress = openProgress(given.quiet ? "quiet" : modeOf(given), world);
    let result: BuildResult;
    try {
      await using cooper = await world.open();
      result = await cooper.build({ ...options, onEvent: progress.onEvent });
    } finally {
      progress.finish();
    }
    report(result, options, given, world);
    return 0;
  },
});

type Given = Flags<typeof flags>;

function modeOf(given: Given): (typeof PROGRESS_MODES)[number] {
  return PROGRESS_MODES.find((mode) => mode === given.progress) ?? "auto";
}

/** As the other modes, but stderr stays JSON to its last line: a failure is an event too. */
async function buildWithJson(options: BuildOptions, given: Given, world: World): Promise<number> {
  const { onEvent } = openProgress("json", world);
  try {
    await using cooper = await world.open();
    report(await cooper.build({ ...options, onEvent }), options, given, world);
    return 0;
  } catch (error) {
    const cause: unknown = world.signal.aborted ? world.signal.reason : error;
    world.stderr.write(`${terminalJson(failureEvent(cause))}\n`);
    return exitCodeOf(cause);
  }
}

function buildOptions(given: Given, operands: readonly string[], world: World): BuildOptions {
  refuseFixed(given);
  const outputs = given.output.map((text) => parseOutput(text, world));
  const { "build-arg": buildArgs, jobs } = given;
  return {
    ...transferOptions(given),
    ...networkOptions(given),
    ...allowOption(given),
    ...isolationOptions(given, world),
    ...mountOptions(given, world),
    ...driverOptions(given, world),
    ...contextOf(operands, given, world),
    ...fileOption(given.file),
    ...(given.ignorefile === undefined ? {} : { ignoreFile: resolve(world.cwd, given.ignorefile) }),
    ...(given.target === undefined ? {} : { target: given.target }),
    ...(given.tag.length === 0 ? {} : { tags: given.tag }),
    ...(buildArgs.length === 0 ? {} : { buildArgs: keyValues("--build-arg", buildArgs, undefined) }),
    ...(given.platform === undefined ? {} : { platform: given.platform }),
    ...(given["build-context"].length === 0
      ? {}
      : { buildContexts: buildContexts(given["build-context"], world) }),
    ...(given.label.length === 0 ? {} : { labels: keyValues("--label", given.label, "") }),
    ...(given["no-cache"] ? { cache: false } : {}),
    ...pullPolicy(given.pull),
    ...formatOption(given, world),
    ...times(given, buildArgs, world),
    ...(outputs.length === 0 ? {} : { outputs }),
    ...(jobs === undefined || jobs === 0 ? {} : { jobs }),
    ...failureOptions(given, world),
    signal: world.signal,
  };
}

function fileOption(files: readonly string[]): Pick<BuildOptions, "file"> {
  const [first, ...others] = files;
  return first === undefined ? {} : { file: others.length === 0 ? first : files };
}

/** Source: buildah-build(1); docker and buildah both take the environment variable, too. */
function times(
  given: Given,
  buildArgs: readonly string[],
  world: World,
): Pick<BuildOptions, "sourceDateEpoch" | "rewriteTimestamps"> {
  const { timestamp, "source-date-epoch": flag } = given;
  if (timestamp !== undefined && flag !== undefined) {
    throw usage("--timestamp and --source-date-epoch exclude each other");
  }
  if (timestamp !== undefined) {
    return { sourceDateEpoch: seconds("--timestamp", timestamp), rewriteTimestamps: "all" };
  }
  const rewrite = given["rewrite-timestamp"] ? ({ rewriteTimestamps: "later" } as const) : {};
  if (flag !== undefined) return { sourceDateEpoch: seconds("--source-date-epoch", flag), ...rewrite };
  const variable = world.env["SOURCE_DATE_EPOCH"] ?? "";
  if (variable === "" || buildArgs.some((arg) => /^SOURCE_DATE_EPOCH(?:=|$)/.test(arg))) return rewrite;
  return { sourceDateEpoch: seconds("SOURCE_DATE_EPOCH in the environment", variable), ...rewrite };
}

function seconds(name: string, text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw usage(`${name}: "${text}" is not a whole number of seconds since 1970`);
}

/** Users of podman and buildah have the variable in their CI. */
function formatOption(given: Given, world: World): Pick<BuildOptions, "format"> {
  const text = given.format ?? world.env["BUILDAH_FORMAT"] ?? "";
  if (text === "") return {};
  const format = FORMATS.find((known) => known === text);
  if (format) return { format };
  throw usage(`BUILDAH_FORMAT in the environment: "${text}" is not one of: ${FORMATS.join(", ")}`);
}

function refuseFixed(given: Given): void {
  for (const name of ["layers", "rm", "force-rm"] as const) {
    if (given[name] === false)
      throw new CooperError("unsupported", `--${name}=false is not supported yet by "cooper build"`);
  }
}

/** What is fetched and not read where it is: stdin, URLs, and git's `user@host:path`. */
const ELSEWHERE = /^(?:-$|[a-z][a-z0-9+.-]*:\/\/|[\w-]+@[A-Za-z0-9.-]+:)/;

function contextOf(
  operands: readonly string[],
  given: Given,
  world: World,
): Pick<BuildOptions, "contextDir" | "context"> {
  const [context] = operands;
  if (given.file.includes("-") && world.stdin.isTerminal) {
    throw usage("--file -: cannot read a Containerfile from the terminal; redirect stdin");
  }
  if (context === undefined && given.file.length > 0) {
    throw usage("no context directory given; for the current one: cooper build -f FILE .");
  }
  if (context === "-" && world.stdin.isTerminal)
    throw usage("cannot read a build context from the terminal; redirect stdin, or give a directory");
  if (context !== undefined && ELSEWHERE.test(context)) return { context };
  return { contextDir: resolve(world.cwd, context ?? ".") };
}

/** Paths are taken from the command's own directory, whatever the process's. */
function buildContexts(given: readonly string[], world: World): Readonly<Record<string, string>> {
  const contexts = Object.entries(keyValues("--build-context", given, ""));
  return Object.fromEntries(
    contexts.map(([name, value]) => {
      const [, scheme = "", rest = value] =
        /^([a-z][a-z0-9+-]*:\/\/|[\w-]+@[A-Za-z0-9.-]+:)(.*)$/s.exec(value) ?? [];
      if (value === "" || (scheme !== "" && scheme !== "oci-layout://")) return [name, value];
      return [name, `${scheme}${resolve(world.cwd, rest)}`];
    }),
  );
}

function pullPolicy(given: string | undefined): Pick<BuildOptions, "pull"> {
  if (given === "always" || given === "true") return { pull: "always" };
  if (given === "missing" || given === "false") return { pull: "missing" };
  return given === "never" || given === "newer" ? { pull: given } : {};
}

/** `type=oci,dest=PATH`; a bare path is a directory, as in docker and podman. */
function parseOutput(text: string, world: World): BuildOutput {
  const fields = new Map(
    text.split(",").map((field) => {
      const equals = field.indexOf("=");
      return equals < 0
        ? (["", field] as const)
        : ([field.slice(0, equals), field.slice(equals + 1)] as const);
    }),
  );
  const unknown = [...fields.keys()].find((key) => key !== "" && key !== "type" && key !== "dest");
  if (unknown !== undefined || (fields.has("") && fields.size > 1)) {
    throw usage(`--output: "${text}" is not type=oci|docker|local,dest=PATH`);
  }
  const type = fields.get("type") ?? "local";
  const dest = fields.get("dest") ?? fields.get("");
  if (type !== "oci" && type !== "docker" && type !== "local") {
    throw new CooperError(
      "unsupported",
      `--output: type "${type}" is not supported yet; it can be oci, docker or local`,
    );
  }
  if (dest === undefined || dest === "") throw usage(`--output: "${text}" does not say where: add dest=PATH`);
  if (dest !== "-") return { type, dest: resolve(world.cwd, dest) };
  if (type === "local")
    throw usage("--output: a directory cannot be written to stdout; use type=oci or type=docker");
  if (world.stdout.isTerminal)
    throw usage("--output: refusing to write an archive to the terminal; redirect stdout");
  return { type, dest };
}

function report(result: BuildResult, options: BuildOptions, given: Given, world: World): void {
  const hex = hexDigits(result.imageId);
  if (given.iidfile !== undefined) writeResult(given.iidfile, `sha256:${hex}`, world);
  // An archive on stdout must not get a line of text behind it.
  if (!options.outputs?.some(({ dest }) => dest === "-")) world.stdout.write(`${hex}\n`);
}
