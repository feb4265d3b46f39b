import { constants } from "node:os";
import { posix } from "node:path";
import { CooperError, unreachable } from "../../errors.js";
import type { Healthcheck, ProcessConfig } from "../../image/index.js";
import type {
  Command,
  HealthcheckInstruction,
  Instruction,
  ListInstruction,
  PairsInstruction,
} from "../../parser/index.js";
import { expandWords, nearest, parseDuration } from "../../parser/index.js";
import type { Expansion } from "../expand.js";
import { expandAt } from "../expand.js";
import type { StageState, StepOutcome } from "../state.js";
import { lookupIn, shellOf, workdirOf } from "../state.js";

/** Instructions that change only the image's config. */
export type MetadataInstruction = Exclude<
  Instruction,
  { readonly kind: "FROM" | "RUN" | "COPY" | "ADD" | "ARG" }
>;

/**
 * The config after an instruction, and what the history says of it: what BuildKit says, but where it prints its own data
 * structures (HEALTHCHECK) or nothing (ONBUILD) the instruction as written. WORKDIR's directory is the caller's. Throws `syntax` with
 * the place of a value that is not allowed.
 */
export function applyMetadata(
  instruction: MetadataInstruction,
  state: StageState,
  at: Expansion,
): StepOutcome {
  const { config } = state.config;
  const expand = (word: { readonly text: string; readonly span: PairsInstruction["span"] }): string =>
    expandAt(at.source, word, at.escape, lookupIn(state));
  const { kind } = instruction;
  switch (kind) {
    case "ENV": {
      const pairs = pairsOf(instruction, expand);
      const variables = new Map(pairs);
      return {
        config: { ...config, Env: setEnv(config.Env ?? [], pairs) },
        variables,
        createdBy: told(kind, pairs),
      };
    }
    case "LABEL": {
      const pairs = pairsOf(instruction, expand);
      const labels = { ...config.Labels, ...Object.fromEntries(pairs) };
      return { config: { ...config, Labels: labels }, createdBy: told(kind, pairs) };
    }
    case "CMD": {
      const argv = argvOf(instruction.command, config);
      return { config: { ...config, Cmd: argv }, createdBy: `CMD ${quotedList(argv)}` };
    }
    case "ENTRYPOINT": {
      const argv = argvOf(instruction.command, config);
      const createdBy = `ENTRYPOINT ${quotedList(argv)}`;
      return { config: withEntrypoint(config, argv, state.cmdSet), createdBy };
    }
    case "EXPOSE": {
      const ports = exposedPorts(instruction, state, at);
      const all = { ...config.ExposedPorts, ...keys(ports) };
      return {
        config: { ...config, ExposedPorts: all },
        createdBy: `EXPOSE [${ports.toSorted().join(" ")}]`,
      };
    }
    case "VOLUME": {
      const paths = volumes(instruction, expand, at);
      const all = { ...config.Volumes, ...keys(paths) };
      return { config: { ...config, Volumes: all }, createdBy: `VOLUME [${paths.join(" ")}]` };
    }
    case "USER": {
      const user = withoutNul(expand(instruction.value), instruction, at);
      return { config: { ...config, User: user }, createdBy: `USER ${user}` };
    }
    case "WORKDIR": {
      const path = workdir(withoutNul(expand(instruction.value), instruction, at), config);
      return { config: { ...config, WorkingDir: path }, createdBy: `WORKDIR ${path}` };
    }
    case "STOPSIGNAL": {
      const signal = stopSignal(expand(instruction.value), instruction, at);
      return { config: { ...config, StopSignal: signal }, createdBy: `STOPSIGNAL ${signal}` };
    }
    case "SHELL": {
      const { argv } = instruction;
      return { config: { ...config, Shell: argv }, createdBy: `SHELL [${argv.join(" ")}]` };
    }
    case "HEALTHCHECK":
      return { config: { ...config, Healthcheck: healthcheck(instruction, at) } };
    case "ONBUILD":
      return { config: { ...config, OnBuild: [...(config.OnBuild ?? []), instruction.trigger] } };
    case "MAINTAINER": {
      const author = instruction.value.text;
      return { author, createdBy: `MAINTAINER ${author}` };
    }
    default:
      return unreachable(instruction);
  }
}

type Pairs = readonly (readonly [string, string])[];

function told(kind: string, pairs: Pairs): string {
  return `${kind} ${pairs.map(([key, value]) => `${key}=${value}`).join(" ")}`;
}

function quotedList(words: readonly string[]): string {
  return `[${words.map((word) => JSON.stringify(word)).join(" ")}]`;
}

/** argv of a shell or exec form. */
export function argvOf(command: Command, config: ProcessConfig): readonly string[] {
  return command.form === "exec" ? command.argv : [...shellOf(config), command.text];
}

/** Sets variables in an `Env` list; a name that is there keeps its position. */
export function setEnv(env: readonly string[], pairs: Pairs): readonly string[] {
  const result = [...env];
  for (const [name, value] of pairs) {
    const at = result.findIndex((line) => line.startsWith(`${name}=`));
    if (at < 0) result.push(`${name}=${value}`);
    else result[at] = `${name}=${value}`;
  }
  return result;
}

function pairsOf(
  instruction: PairsInstruction,
  expand: (word: PairsInstruction["pairs"][number]["key"]) => string,
): Pairs {
  return instruction.pairs.map(({ key, value }) => [expand(key), expand(value)]);
}

function keys(names: readonly string[]): Record<string, Record<string, never>> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}

function withEntrypoint(config: ProcessConfig, argv: readonly string[], keepCmd: boolean): ProcessConfig {
  const { Cmd, ...rest } = config;
  return keepCmd && Cmd ? { ...rest, Entrypoint: argv, Cmd } : { ...rest, Entrypoint: argv };
}

function required(value: string, instruction: Instruction, at: Expansion): string {
  if (value !== "" && !value.includes("\0")) return value;
  throw new CooperError("syntax", `${instruction.kind} is empty once its variables are filled in`, {
    source: at.source,
    span: instruction.span,
  });
}

function withoutNul(value: string, instruction: Instruction, at: Expansion): string {
  return value === "" ? value : required(value, instruction, at);
}

/** An absolute path stays as it was written, as in BuildKit. */
function workdir(path: string, config: ProcessConfig): string {
  return posix.isAbsolute(path) ? path : posix.join(workdirOf(config), path);
}

/** An address and a port of the host may stand before it: they are for `docker run`, and nothing remains of them. */
const PORT = /^(?:[^/]*:)?(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w*))?$/;
const PROTOCOLS = ["tcp", "udp", "sctp"];

function exposedPorts(instruction: ListInstruction, state: StageState, at: Expansion): readonly string[] {
  return instruction.words.flatMap((word) => {
    const words = expandWords(word.text, lookupIn(state), { escape: at.escape });
    return words.flatMap((text) => {
      const [, first = "", last = first, given = ""] = PORT.exec(text) ?? [];
      const protocol = given || "tcp";
      const [from, to] = [Number(first), Number(last)];
      if (first === "" || from > to || to > 65_535 || !PROTOCOLS.includes(protocol.toLowerCase())) {
        throw new CooperError("syntax", `EXPOSE ${text}: must be PORT[-PORT][/tcp|udp|sctp]`, {
          source: at.source,
          span: word.span,
        });
      }
      return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${protocol.toLowerCase()}`);
    });
  });
}

function volumes(
  instruction: ListInstruction,
  expand: (word: ListInstruction["words"][number]) => string,
  at: Expansion,
): readonly string[] {
  return instruction.words.map((word) => required(expand(word), { ...instruction, span: word.span }, at));
}

/** Real-time signals count from the first or the last. Source: signal(7). */
const REAL_TIME = /^RT(?:MIN(?:\+(?:[1-9]|1[0-5]))?|MAX(?:-(?:[1-9]|1[0-4]))?)$/;
const SIGNALS = [...Object.keys(constants.signals).map((name) => name.slice("SIG".length)), "CLD"];

function stopSignal(text: string, instruction: Instruction, at: Expansion): string {
  const name = text.toUpperCase().replace(/^SIG/, "");
  if (/^[1-9]\d?$/.test(text) || SIGNALS.includes(name) || REAL_TIME.test(name)) return text;
  const meant = nearest(name, SIGNALS);
  throw new CooperError("syntax", `STOPSIGNAL ${text}: not a signal name or number`, {
    source: at.source,
    span: instruction.span,
    ...(meant === undefined ? {} : { hint: `did you mean SIG${meant}?` }),
  });
}

const HEALTH_FLAGS = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
} as const;

function healthcheck(instruction: HealthcheckInstruction, at: Expansion): Healthcheck {
  if (!instruction.command) return { Test: ["NONE"] };
  const found: Record<string, number> = {};
  for (const flag of instruction.flags) {
    const value = flag.value ?? "";
    if (flag.name === "retries") found["Retries"] = Number(value);
    else found[HEALTH_FLAGS[flag.name as keyof typeof HEALTH_FLAGS]] = parseDuration(value) ?? Number.NaN;
    if (Object.values(found).some((n) => Number.isNaN(n))) {
      throw new CooperError("syntax", `HEALTHCHECK --${flag.name}=${value}: not a valid value`, {
        source: at.source,
        span: flag.span,
      });
    }
  }
  const { command } = instruction;
  const test = command.form === "exec" ? ["CMD", ...command.argv] : ["CMD-SHELL", command.text];
  return { Test: test, ...Object.fromEntries(Object.entries(found).filter(([, n]) => n !== 0)) };
}
