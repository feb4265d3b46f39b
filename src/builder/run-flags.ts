import { CooperError, withPlace } from "../errors.js";
import type { Flag, RunInstruction, RunMount } from "../parser/index.js";
import { checkRunMount, mountFrom, mountWish } from "../parser/index.js";
import { isSystemPlace } from "../runtime/index.js";
import type { SourceText } from "../source.js";
import { expandAt } from "./expand.js";
import type { Expansion } from "./expand.js";
import type { KnownVariables } from "./known-variables.js";
import { expandKnown } from "./known-variables.js";
import type { FromWord } from "./origins.js";
import { ENTITLEMENTS } from "./run-settings.js";
import type { Entitlement } from "./run-settings.js";

/** What these flags may say; variables are not replaced in them. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  network: ["default", "none", "host"],
  security: ["sandbox", "insecure"],
};

/**
 * Judges the flags of a RUN as far as the variables are known, then refuses what the sandbox does not offer. Returns its
 * mounts of which all is known, by their flags. Throws `syntax`, `usage` and `unsupported` with the place of the flag.
 */
export function checkRunFlags(
  instruction: RunInstruction,
  at: Expansion,
  known: KnownVariables,
  allow: ReadonlySet<Entitlement>,
): ReadonlyMap<Flag, RunMount> {
  const refused: CooperError[] = [];
  const mounts = new Map<Flag, RunMount>();
  for (const flag of instruction.flags) {
    if (flag.name === "mount") {
      const mount = checkMount(flag, at, known);
      if (mount) mounts.set(flag, mount);
    } else if (flag.name in CHOICES) {
      const needed = ENTITLEMENTS.find((word) => word === `${flag.name}.${flag.value}`);
      if (needed !== undefined && !allow.has(needed)) refused.push(notAllowed(needed, flag, at));
    } else refused.push(notOffered(`--${flag.name}`, flag, at));
  }
  const [first] = refused;
  if (first) throw first;
  return mounts;
}

function checkMount(flag: Flag, at: Expansion, known: KnownVariables): RunMount | undefined {
  const expand = (text: string): string | undefined =>
    expandKnown(known, (lookup) => expandAt(at.source, { text, span: flag.span }, at.escape, lookup));
  try {
    const mount = checkRunMount(flag.value ?? "", expand);
    if (mount?.target?.startsWith("/") === true) checkTarget(mount.target);
    const wish = mountWish(flag.value ?? "");
    if (wish)
      throw new CooperError("unsupported", `RUN --mount: ${wish.key} is not supported`, {
        hint: wish.instead,
      });
    return mount;
  } catch (error) {
    throw withPlace(error, at.source, flag.span);
  }
}

/** Throws `usage` for a target that is the sandbox's own (hazard C10). */
export function checkTarget(target: string): void {
  if (!isSystemPlace(target)) return;
  throw new CooperError("usage", `RUN --mount: cannot mount on ${target}`, {
    hint: "the root, /proc, /sys and /dev are the sandbox's own",
  });
}

/** What each `--mount` of a RUN names as its `from`, by its flag. Throws `syntax` with the place. */
export function mountFroms(
  { flags }: RunInstruction,
  { source }: Expansion,
): readonly (readonly [Flag, FromWord])[] {
  return flags.flatMap((flag) => {
    if (flag.name !== "mount") return [];
    try {
      const text = mountFrom(flag.value ?? "");
      return text === undefined ? [] : [[flag, { what: "RUN --mount from", text, span: flag.span }] as const];
    } catch (error) {
      throw withPlace(error, source, flag.span);
    }
  });
}

/** Throws `syntax` with the place of a flag whose value is none of its choices: in any stage, as BuildKit does. */
export function checkChoice({ name, value = "", span }: Flag, source: SourceText): void {
  const allowed = CHOICES[name];
  if (!allowed || allowed.includes(value)) return;
  const lower = value.toLowerCase();
  const hint = value.includes("$")
    ? { hint: "variables are not replaced here" }
    : allowed.includes(lower)
      ? { hint: `write it in lower case: --${name}=${lower}` }
      : {};
  throw new CooperError("syntax", `RUN --${name}=${value}: must be one of ${allowed.join(", ")}`, {
    source,
    span,
    ...hint,
  });
}

/** The file cannot give itself what only its builder may give (hazard C07). */
function notAllowed(needed: Entitlement, { name, value = "", span }: Flag, at: Expansion): CooperError {
  return new CooperError("usage", `RUN --${name}=${value} is not allowed in this build`, {
    source: at.source,
    span,
    hint: `if you trust the file, build with --allow ${needed}`,
  });
}

function notOffered(what: string, { span }: Flag, { source }: Expansion): CooperError {
  return new CooperError("unsupported", `RUN ${what} is not supported yet`, { source, span });
}
