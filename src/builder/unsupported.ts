import { CooperError } from "../errors.js";
import type { Flag, Instruction } from "../parser/index.js";
import type { SourceText } from "../source.js";

/** Flags of the language that parse but that this version does not carry out, by instruction. */
const UNSUPPORTED_FLAGS: Readonly<Record<string, readonly string[]>> = {
  COPY: ["link", "parents", "exclude"],
  ADD: ["link", "exclude", "checksum", "keep-git-dir", "unpack"],
};

const REMOTE_SOURCE = /^(?:https?|git|ssh|ftp):\/\/|^git@/i;

/** Throws `unsupported`, with its place, for the first thing that this version cannot do: before any step runs. */
export function refuseUnsupported(source: SourceText, instructions: readonly Instruction[]): void {
  for (const instruction of instructions) refuseInstruction(source, instruction);
}

function refuseInstruction(source: SourceText, instruction: Instruction): void {
  for (const flag of instruction.flags) {
    if (UNSUPPORTED_FLAGS[instruction.kind]?.includes(flag.name)) refuse(source, instruction.kind, flag);
  }
  if (instruction.kind !== "ADD") return;
  for (const word of instruction.sources) {
    if (!REMOTE_SOURCE.test(word.text)) continue;
    throw new CooperError(
      "unsupported",
      `ADD ${word.text}: adding from a URL or git repository is not supported yet`,
      {
        source,
        span: word.span,
        hint: "fetch it with RUN, or put the file into the build context",
      },
    );
  }
}

function refuse(source: SourceText, kind: string, flag: Flag): never {
  throw new CooperError("unsupported", `${kind} --${flag.name} is not supported yet`, {
    source,
    span: flag.span,
  });
}
