import type { Instruction } from "../../parser/index.js";
import type { TextRule, TextScope } from "../rule.js";

export const noEmptyContinuation: TextRule = {
  rule: {
    name: "NoEmptyContinuation",
    origin: "BuildKit",
    says: "A continued instruction has no empty lines",
    why: "The instruction goes on after the empty line, which is easily taken for its end; BuildKit means to refuse it.",
    bad: "FROM scratch\nLABEL a=1 \\\n\n      b=2",
    good: "FROM scratch\nLABEL a=1 \\\n      b=2",
    fixes: true,
  },
  *find(scope) {
    for (const lines of emptyLines(scope)) {
      const [first] = lines;
      if (!first) continue;
      const { start, end, line } = first;
      yield {
        rule: "NoEmptyContinuation",
        message: "an empty line inside a continued instruction is skipped",
        span: { start, end, line, column: 1, endLine: line },
        hint: "remove the empty line, or make it a comment",
        fix: lines.map(({ start: from, next }) => ({ start: from, end: next, text: "" })),
      };
    }
  },
};

interface EmptyLine {
  readonly start: number;
  /** Without the line's end. */
  readonly end: number;
  readonly next: number;
  /** From 1. */
  readonly line: number;
}

/** The empty lines of each continued instruction that has some. */
function* emptyLines({ source: { text }, file }: TextScope): Generator<readonly EmptyLine[]> {
  const bodies = file.instructions.filter(hasBodies).map(({ span }) => span);
  const escape = file.escape === "\\" ? "\\\\" : "`";
  const continued = new RegExp(`(?:^|[^${escape}])${escape}[ \\t]*$`);
  let upcoming = 0;
  let line = 1;
  for (let at = 0; at < text.length;) {
    const begin = at;
    const found: EmptyLine[] = [];
    for (let goesOn = true; goesOn && at < text.length; line++) {
      const next = nextLine(text, at);
      const content = text.slice(at, next).replace(/\r*\n?$/, "");
      const blank = /^[ \t\v\f\r]*$/.test(content);
      const skipped = blank || /^[ \t\v\f\r]*#/.test(content);
      if (blank && at > begin) found.push({ start: at, end: at + content.length, next, line });
      goesOn = (skipped && at > begin) || (!skipped && continued.test(content));
      at = next;
    }
    if (found.length > 0) yield found;
    while ((bodies[upcoming]?.start ?? at) < begin) upcoming++;
    const body = bodies[upcoming];
    if (body && body.start < at && body.end > at) {
      at = nextLine(text, body.end - 1);
      line = body.endLine + 1;
    }
  }
}

function hasBodies(instruction: Instruction): boolean {
  const { heredocs } = instruction.kind === "ONBUILD" ? instruction.instruction : instruction;
  return heredocs.length > 0;
}

function nextLine(text: string, at: number): number {
  const newline = text.indexOf("\n", at);
  return newline < 0 ? text.length : newline + 1;
}
