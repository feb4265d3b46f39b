import type { Command, Instruction } from "../../parser/index.js";
import { keywordOf } from "../places.js";
import type { StepRule } from "../rule.js";

export const jsonArgsRecommended: StepRule = {
  rule: {
    name: "JSONArgsRecommended",
    origin: "BuildKit",
    says: "CMD and ENTRYPOINT are JSON arrays",
    why: "In shell form a shell is process 1 and does not pass signals on, so the program is not told to stop. With a SHELL of its own the shell is taken to be meant.",
    bad: "FROM scratch\nCMD /app --serve",
    good: 'FROM scratch\nCMD ["/app", "--serve"]',
    fixes: false,
  },
  *find({ source, instruction, environment }) {
    if (instruction.kind !== "CMD" && instruction.kind !== "ENTRYPOINT") return;
    if (instruction.command.form !== "shell" || environment.hasShell) return;
    yield {
      rule: "JSONArgsRecommended",
      message: `${instruction.kind} in shell form runs under a shell that does not pass signals on`,
      span: keywordOf(source, instruction).span,
      hint: asArray(instruction.kind, instruction.command),
    };
  },
};

/** A command without anything that a shell would act on, as an array; else advice. */
function asArray(kind: string, command: Command): string {
  const plain = command.form === "shell" && /^[\w./:=@%+, -]{1,80}$/.test(command.text);
  if (plain && !/^\s*\w+=/.test(command.text)) {
    const words = command.text.split(/ +/).filter((word) => word !== "");
    return `write ${kind} [${words.map((word) => JSON.stringify(word)).join(", ")}]`;
  }
  return `write it as a JSON array, or name the shell that is meant with SHELL`;
}

const SINGLE: readonly Instruction["kind"][] = ["CMD", "ENTRYPOINT", "HEALTHCHECK"];

export const multipleInstructionsDisallowed: StepRule = {
  rule: {
    name: "MultipleInstructionsDisallowed",
    origin: "BuildKit",
    says: "A stage has at most one CMD, one ENTRYPOINT and one HEALTHCHECK",
    why: "Only the last one counts.",
    bad: 'FROM scratch\nCMD ["/a"]\nCMD ["/b"]',
    good: 'FROM scratch\nCMD ["/b"]',
    fixes: false,
  },
  *find({ source, instruction, stage }) {
    if (!SINGLE.includes(instruction.kind)) return;
    const last = stage.last.get(instruction.kind);
    if (!last || last === instruction) return;
    yield {
      rule: "MultipleInstructionsDisallowed",
      message: `this ${instruction.kind} has no effect: line ${last.span.line} replaces it`,
      span: keywordOf(source, instruction).span,
      hint: "remove it",
    };
  },
};
