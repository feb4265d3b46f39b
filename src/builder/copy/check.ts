import { hasWildcard, matchPattern } from "../../context/index.js";
import { withPlace } from "../../errors.js";
import { isRemoteUrl } from "../../fetch/index.js";
import type { CopyInstruction, Instruction } from "../../parser/index.js";
import type { SourceText, Span } from "../../source.js";
import { checkOwner } from "../users.js";
import { parseChmod } from "./chmod.js";
import { checkRemotes, refuseUrl } from "./remote-check.js";
import { excludesOf } from "./request.js";
import { excludeMatcher } from "./select.js";

/** Checks the COPYs and ADDs among instructions, before any step runs. */
export function checkCopies(source: SourceText, instructions: readonly Instruction[]): void {
  for (const one of instructions) if (one.kind === "COPY" || one.kind === "ADD") checkCopy(source, one);
}

/** Throws, with its place, for the first thing in a COPY or ADD that no value of its variables can make right. */
function checkCopy(source: SourceText, instruction: CopyInstruction): void {
  for (const flag of instruction.flags) {
    const { name, value = "" } = flag;
    if (name === "exclude") at(source, flag.span, () => excludeMatcher([value]));
    if (value === "" || value.includes("$")) continue;
    if (name === "chmod") at(source, flag.span, () => parseChmod(value));
    if (name === "chown") at(source, flag.span, () => checkOwner(value));
  }
  at(source, instruction.span, () => excludeMatcher(excludesOf(instruction)));
  at(source, spanOf(instruction, "checksum"), () => checkRemoteParts(instruction));
  const isPlain = !instruction.flags.some(({ name }) => name === "parents");
  for (const { text, span } of instruction.sources) {
    if (text.includes("$") || isRemoteUrl(text)) continue;
    if (isPlain && hasWildcard(text))
      at(source, span, () => text.split("/").forEach((part) => void matchPattern(part, "")));
  }
}

/** Words and a checksum that hold variables are looked at when these are known. */
function checkRemoteParts({ kind, sources, heredocs, flags }: CopyInstruction): void {
  const words = sources.map(({ text }) => text);
  if (kind === "COPY") {
    words.forEach(refuseUrl);
    return;
  }
  const checksum = flags.find(({ name }) => name === "checksum")?.value;
  const isKnown = ![checksum ?? "", ...words].some((text) => text.includes("$"));
  if (isKnown) checkRemotes([...words, ...heredocs.map(({ name }) => name)], checksum);
}

function spanOf({ flags, span }: CopyInstruction, name: string): Span {
  return flags.find((flag) => flag.name === name)?.span ?? span;
}

function at(source: SourceText, span: Span, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw withPlace(error, source, span);
  }
}
