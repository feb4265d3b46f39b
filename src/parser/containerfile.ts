import type { SourceText } from "../source.js";
import type { Containerfile, Instruction } from "./ast.js";
import { collectFindings, type Findings } from "./diagnostics.js";
import { readDirectives } from "./directives.js";
import { createInstructionReader, type InstructionReader } from "./instruction.js";
import { type LineTable, lineTable } from "./line-table.js";
import { logicalLines } from "./logical-lines.js";

let instructionReader: InstructionReader | undefined;

/** `parse` of the door, for when the grammar is loaded. */
export function parseContainerfile(source: SourceText): Containerfile {
  const lines = lineTable(source.text);
  const findings = collectFindings(source);
  refuseNul(lines, findings);
  const { escape, directives, nextLine } = readDirectives(lines, findings);
  const instructions: Instruction[] = [];
  const order = createOrderCheck(findings);
  for (const line of logicalLines(lines, nextLine, escape, findings)) {
    const { kind, instruction } = readerOnce()(line, escape, findings);
    order.see(kind, line.span);
    if (instruction) instructions.push(instruction);
  }
  order.end(lines);
  findings.throwErrors();
  return { escape, directives, instructions, warnings: findings.warnings() };
}

/** `parseTrigger` of the door, for when the grammar is loaded. */
export function parseTriggerText(source: SourceText): Instruction {
  const lines = lineTable(source.text);
  const findings = collectFindings(source);
  refuseNul(lines, findings);
  const instructions: Instruction[] = [];
  let count = 0;
  for (const line of logicalLines(lines, 0, "\\", findings)) {
    count++;
    const { kind, instruction } = readerOnce()(line, "\\", findings);
    if (count > 1) findings.error("SeveralTriggers", "an ONBUILD trigger is one instruction", line.span);
    else if (instruction && ["FROM", "ONBUILD", "MAINTAINER"].includes(kind)) {
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

/** Text with a NUL is no text (UTF-16 most often): whatever else is wrong with it would only be noise. */
function refuseNul(lines: LineTable, findings: Findings): void {
  const at = lines.text.indexOf("\0");
  if (at < 0) return;
  const hint = "is this a text file, and is it in UTF-8?";
  findings.error("NulCharacter", "the file holds a NUL character", lines.span(at, at + 1), hint);
  findings.throwErrors();
}

interface OrderCheck {
  see(kind: string, span: ReturnType<LineTable["span"]>): void;
  end(lines: LineTable): void;
}

/** Only ARG may stand before the first FROM, and there must be one. One finding tells all of it. */
function createOrderCheck(findings: Findings): OrderCheck {
  let stray: { readonly kind: string; readonly span: ReturnType<LineTable["span"]> } | undefined;
  let hasFrom = false;
  let last: ReturnType<LineTable["span"]> | undefined;
  return {
    see(kind, span) {
      last = span;
      if (kind === "FROM") hasFrom = true;
      if (hasFrom || kind === "ARG" || kind === "" || stray) return;
      stray = { kind, span };
    },
    end(lines) {
      if (stray) {
        const message = `${stray.kind} stands before the first FROM; only ARG may`;
        findings.error("NoFrom", message, stray.span);
      } else if (!last) findings.error("EmptyFile", "the file has no instructions", lines.span(0, 0));
      else if (!hasFrom) findings.error("NoFrom", "the file has no FROM", last);
    },
  };
}
