import type { SourcePart, SourceText } from "../source.js";
import type {
  Analysis,
  Comment,
  Containerfile,
  Directive,
  Instruction,
  InvalidInstruction,
  PartialContainerfile,
} from "./ast.js";
import type { Escape } from "./characters.js";
import { collectFindings, type Findings, inOrder } from "./diagnostics.js";
import { type Directives, readDirectives } from "./directives.js";
import { createInstructionReader, type InstructionReader } from "./instruction.js";
import { type LineTable, lineTable } from "./line-table.js";
import { type LogicalLine, logicalLines } from "./logical-lines.js";

let instructionReader: InstructionReader | undefined;

/** Errors that `parse` lists, and those that `analyze` does. */
const LISTED_BY_PARSE = 100;
const LISTED_BY_ANALYZE = 10_000;

/** `parse` of the door, for when the grammar is loaded. */
export function parseContainerfile(source: SourceText): Containerfile {
  const findings = collectFindings(source, LISTED_BY_PARSE);
  const lines = lineTable(source.text);
  refuseNul(lines, findings);
  findings.throwErrors();
  const { instructions, ...rest } = readFile(source, findings);
  findings.throwErrors();
  return { ...rest, instructions: instructions.filter(isValid), warnings: findings.warnings() };
}

/** `analyze` of the door, for when the grammar is loaded. */
export function analyzeContainerfile(source: SourceText): Analysis {
  const findings = collectFindings(source, LISTED_BY_ANALYZE);
  const lines = lineTable(source.text);
  refuseNul(lines, findings);
  const file = readFile(source, findings);
  return { file, diagnostics: inOrder(findings.errors(), findings.warnings()) };
}

function readFile(source: SourceText, findings: Findings): PartialContainerfile {
  const parts = source.parts ?? [{ name: source.name, start: 0, line: 1 }];
  const directives: Directive[] = [];
  const comments: Comment[] = [];
  const instructions: (Instruction | InvalidInstruction)[] = [];
  const order = createOrderCheck(findings);
  let escape: Escape | undefined;
  for (const [i, part] of parts.entries()) {
    // To its end and no further: what a file leaves open, the next one does not close.
    const lines = lineTable(source.text.slice(0, parts[i + 1]?.start));
    const own = readDirectives(lines, findings, part.line - 1);
    directives.push(...own.directives);
    escape ??= own.escape;
    if (own.escape !== escape) refuseOtherEscape(part, own, lines, findings);
    for (const line of logicalLines(lines, own.nextLine, own.escape, findings, comments)) {
      const reading = readerOnce()(line, own.escape, findings);
      order.see(reading.kind ?? reading.meant, line.span);
      instructions.push(reading.instruction ?? invalid(line, reading.kind, lines));
    }
  }
  order.end(lineTable(source.text));
  return { escape: escape ?? "\\", directives, comments, instructions };
}

/** A plan has one escape character; files that were joined must agree on it. */
function refuseOtherEscape(part: SourcePart, own: Directives, lines: LineTable, findings: Findings): void {
  const directive = own.directives.find(({ name }) => name === "escape");
  const span = directive?.span ?? lines.span(part.start, part.start);
  const message = `the escape character is ${own.escape} here, and another in the files before`;
  findings.error("MixedEscape", message, span, "give every file of the build the same escape directive");
}

function invalid(
  { span, comments }: LogicalLine,
  keyword: Instruction["kind"] | undefined,
  { text }: LineTable,
): InvalidInstruction {
  const found = keyword === undefined ? {} : { keyword };
  return { kind: "INVALID", ...found, text: text.slice(span.start, span.end), span, comments };
}

function isValid(instruction: Instruction | InvalidInstruction): instruction is Instruction {
  return instruction.kind !== "INVALID";
}

/** The one instruction that a text holds; undefined when it holds another number, or one with errors. */
export function readInstruction(text: string, escape: Escape): Instruction | undefined {
  const findings = collectFindings({ name: "", text }, 1);
  const found: (Instruction | undefined)[] = [];
  for (const line of logicalLines(lineTable(text), 0, escape, findings, [])) {
    found.push(readerOnce()(line, escape, findings).instruction);
  }
  return found.length === 1 && findings.errorCount() === 0 ? found[0] : undefined;
}

/** `parseTrigger` of the door, for when the grammar is loaded. */
export function parseTriggerText(source: SourceText): Instruction {
  const findings = collectFindings(source, LISTED_BY_PARSE);
  const lines = lineTable(source.text);
  refuseNul(lines, findings);
  findings.throwErrors();
  const instructions: Instruction[] = [];
  let count = 0;
  for (const line of logicalLines(lines, 0, "\\", findings, [])) {
    count++;
    const { kind, instruction } = readerOnce()(line, "\\", findings);
    if (count > 1) findings.error("SeveralTriggers", "an ONBUILD trigger is one instruction", line.span);
    else if (instruction && (kind === "FROM" || kind === "ONBUILD" || kind === "MAINTAINER")) {
      findings.error("InvalidTrigger", `ONBUILD cannot trigger ${kind}`, line.span);
    }
    if (instruction) instructions.push(instruction);
  }
  if (count === 0) findings.error("EmptyFile", "the ONBUILD trigger is empty", lines.span(0, 0));
  findings.throwErrors();
  const [instruction] = instructions;
  if (!instruction) throw new Error("a trigger without errors has an instruction");
  return instruction;
}

function readerOnce(): InstructionReader {
  instructionReader ??= createInstructionReader({ validate: false });
  return instructionReader;
}

/** Text with a NUL is no text (UTF-16 most often). */
function refuseNul(lines: LineTable, findings: Findings): void {
  const at = lines.text.indexOf("\0");
  if (at < 0) return;
  const hint = "is this a text file, and is it in UTF-8?";
  findings.error("NulCharacter", "the file holds a NUL character", lines.span(at, at + 1), hint);
}

interface OrderCheck {
  see(kind: string | undefined, span: ReturnType<LineTable["span"]>): void;
  end(lines: LineTable): void;
}

const FIRST_LINE = "every stage begins with FROM image, or with FROM scratch for an empty one";

/** Only ARG may stand before the first FROM, and there must be one. One finding tells all of it. */
function createOrderCheck(findings: Findings): OrderCheck {
  let stray: { readonly kind: string; readonly span: ReturnType<LineTable["span"]> } | undefined;
  let hasFrom = false;
  let last: ReturnType<LineTable["span"]> | undefined;
  return {
    see(kind, span) {
      last = span;
      if (kind === "FROM") hasFrom = true;
      if (hasFrom || kind === "ARG" || kind === undefined || stray) return;
      stray = { kind, span };
    },
    end(lines) {
      if (stray) {
        const message = `${stray.kind} stands before the first FROM; only ARG may`;
        findings.error("NoFrom", message, stray.span);
      } else if (!last) findings.error("EmptyFile", "the file has no instructions", lines.span(0, 0));
      else if (!hasFrom) findings.error("NoFrom", "the file has no FROM", last, FIRST_LINE);
    },
  };
}
