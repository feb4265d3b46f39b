import { CooperError, withPlace } from "../errors.js";
import type { Flag, RunInstruction, RunMount } from "../parser/index.js";
import { checkRunMount } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { expandAt } from "./expand.js";
import type { Expansion } from "./expand.js";
import type { KnownVariables } from "./known-variables.js";
import { expandKnown } from "./known-variables.js";
import type { FromWord } from "./origins.js";

/** What these flags may say; variables are not replaced in them. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  network: ["default", "none", "host"],
  security: ["sandbox", "insecure"],
};

/** Types of mounts that the sandbox has. */
const OFFERED_MOUNTS: readonly RunMount["type"][] = [];

/**
 * Judges the flags of a RUN as far as the variables are known, then refuses what the sandbox does not offer. `checkFrom`
 * is called with the `from` of each mount. Throws `syntax` and `unsupported` with the place of the flag.
 */
export function checkRunFlags(
  instruction: RunInstruction,
  at: Expansion,
  known: KnownVariables,
  checkFrom: (from: FromWord, name: string) => void,
): void {
  const refused: CooperError[] = [];
  for (const flag of instruction.flags) {
    if (flag.name === "mount") {
      const mount = readMount(flag, at, known);
      if (mount && "from" in mount && mount.from !== undefined) {
        checkFrom({ what: "RUN --mount from", text: mount.from, span: flag.span }, mount.from);
      }
      if (!mount || !OFFERED_MOUNTS.includes(mount.type)) {
        refused.push(notOffered(`--mount${mount ? ` of type ${mount.type}` : ""}`, flag, at));
      }
    } else if (flag.name in CHOICES) {
      if (flag.value === "insecure") refused.push(notOffered("--security=insecure", flag, at));
    } else refused.push(notOffered(`--${flag.name}`, flag, at));
  }
  const [first] = refused;
  if (first) throw first;
}

function readMount(flag: Flag, at: Expansion, known: KnownVariables): RunMount | undefined {
  const expand = (text: string): string | undefined =>
    expandKnown(known, (lookup) => expandAt(at.source, { text, span: flag.span }, at.escape, lookup));
  try {
    return checkRunMount(flag.value ?? "", expand);
  } catch (error) {
    throw withPlace(error, at.source, flag.span);
  }
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

function notOffered(what: string, { span }: Flag, { source }: Expansion): CooperError {
  return new CooperError("unsupported", `RUN ${what} is not supported yet`, { source, span });
}
