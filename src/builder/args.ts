import type { Platform } from "../image/index.js";
import { formatPlatform, hostPlatform } from "../image/index.js";
import type { ArgInstruction, Instruction } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { expandAt } from "./expand.js";

/**
 * The platform ARGs that exist before the first FROM; a stage must declare them to see them. `stage` is the target's
 * name. Source: BuildKit reference, "Automatic platform ARGs"; the versions are for Windows, and empty.
 */
export function platformArgs(target: Platform, stage: string): readonly (readonly [string, string])[] {
  const of = (prefix: string, platform: Platform): [string, string][] => [
    [`${prefix}PLATFORM`, formatPlatform(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}OSVERSION`, ""],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ""],
  ];
  return [...of("TARGET", target), ...of("BUILD", hostPlatform()), ["TARGETSTAGE", stage]];
}

/** What surrounds the evaluation of ARGs. */
interface ArgScope {
  readonly source: SourceText;
  readonly escape: "\\" | "`";
  readonly buildArgs: ReadonlyMap<string, string>;
}

/**
 * Values of the ARGs before the first FROM, platform ARGs among them: `--build-arg`, else the default, in which earlier
 * ones are seen.
 */
export function evaluateGlobals(
  globals: readonly Instruction[],
  automatic: readonly (readonly [string, string])[],
  scope: ArgScope,
): ReadonlyMap<string, string> {
  const values = new Map(automatic.map(([name, value]) => [name, scope.buildArgs.get(name) ?? value]));
  for (const instruction of globals) {
    if (instruction.kind !== "ARG") continue;
    const declared = argValues(instruction, (name) => values.get(name), new Map(), scope);
    for (const [name, value] of declared) if (value !== undefined) values.set(name, value);
  }
  return values;
}

/**
 * What an ARG declares, in order: `--build-arg`, else the default, else the global ARG of that name, else what `lookup`
 * gives, else undefined. A default sees the ARGs that stand before it in the same instruction, as in BuildKit.
 */
export function argValues(
  instruction: ArgInstruction,
  lookup: (name: string) => string | undefined,
  globals: ReadonlyMap<string, string>,
  { source, escape, buildArgs }: ArgScope,
): ReadonlyMap<string, string | undefined> {
  const declared = new Map<string, string | undefined>();
  const see = (name: string): string | undefined => declared.get(name) ?? lookup(name);
  for (const { name, default: fallback } of instruction.args) {
    const value =
      buildArgs.get(name) ??
      (fallback ? expandAt(source, fallback, escape, see) : globals.get(name)) ??
      see(name);
    declared.set(name, value);
  }
  return declared;
}

/** Build args that none of these instructions declares and that are not predefined. */
export function unusedBuildArgs(
  instructions: readonly Instruction[],
  buildArgs: ReadonlyMap<string, string>,
  automatic: readonly (readonly [string, string])[],
): readonly string[] {
  const declared = new Set(automatic.map(([name]) => name));
  for (const instruction of instructions) {
    if (instruction.kind === "ARG") for (const arg of instruction.args) declared.add(arg.name);
  }
  return [...buildArgs.keys()].filter((name) => !declared.has(name) && !isPredefined(name));
}

const PROXY = /^(?:https?|ftp|no|all)_proxy$/i;

/** Args that count as declared everywhere. Source: BuildKit reference, "Predefined ARGs". */
function isPredefined(name: string): boolean {
  return PROXY.test(name) || name === "SOURCE_DATE_EPOCH" || name.startsWith("BUILDKIT_");
}

const PROXY_ARGS = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"].flatMap((n) => [
  n,
  n.toLowerCase(),
]);

/**
 * Proxy settings for RUN: from `--build-arg`, else from cooper's own environment (as podman does). They are part of
 * neither history, config nor cache key.
 */
export function proxyEnv(
  buildArgs: ReadonlyMap<string, string>,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of PROXY_ARGS) {
    const value = buildArgs.get(name) ?? environment[name];
    if (value !== undefined && value !== "") found[name] = value;
  }
  return found;
}
