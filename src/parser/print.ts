import { CooperError } from "../errors.js";
import type { Comment, Instruction, InvalidInstruction, PartialContainerfile } from "./ast.js";
import { type Escape, isBlank } from "./characters.js";
import { readInstruction } from "./containerfile.js";
import { withBodies } from "./heredoc.js";
import { directiveName } from "./directives.js";
import { writeInstruction } from "./write.js";

/** `print` of the door, for when the grammar is loaded. */
export function printContainerfile(file: PartialContainerfile): string {
  const lines = file.directives.map(({ name, value }) => `# ${name}=${value}`);
  const { comments } = file;
  const first = comments[0];
  const before = file.instructions[0]?.span.start ?? Number.POSITIVE_INFINITY;
  const leads = first !== undefined && first.span.start < before;
  if (leads && (lines.length > 0 || directiveName(first.text) !== undefined)) lines.push("");
  let next = 0;
  const takeBefore = (offset: number): readonly Comment[] => {
    const from = next;
    while (next < comments.length && (comments[next]?.span.start ?? 0) < offset) next++;
    return comments.slice(from, next);
  };
  for (const instruction of file.instructions) {
    const { start, end } = instruction.span;
    for (const line of commentsAbove(takeBefore(start), instruction.comments)) lines.push(line);
    const inside = takeBefore(end).map(commentLine);
    lines.push(printInstruction(instruction, inside, file.escape));
  }
  for (const comment of takeBefore(Number.POSITIVE_INFINITY)) lines.push(commentLine(comment));
  const text = lines.map((line) => `${line}\n`).join("");
  // Of two byte order marks the first would be taken for one.
  return text.startsWith("\ufeff") ? `\ufeff${text}` : text;
}

/** The comments that belong to an instruction stand directly above it; a blank line keeps others away from it. */
function commentsAbove(found: readonly Comment[], own: readonly string[]): readonly string[] {
  const texts = found.map(({ text }) => text);
  const apart = Math.max(0, texts.length - own.length);
  const others = own.every((text, index) => texts[apart + index] === text) ? texts.slice(0, apart) : texts;
  const separator = others.length > 0 ? [""] : [];
  return [
    ...others.map((text) => commentLine({ text })),
    ...separator,
    ...own.map((text) => commentLine({ text })),
  ];
}

function commentLine({ text }: Pick<Comment, "text">): string {
  return text === "" ? "#" : `# ${text}`;
}

/** As it was written, if that still says what the fields say; else written anew. */
function printInstruction(
  instruction: Instruction | InvalidInstruction,
  inside: readonly string[],
  escape: Escape,
): string {
  if (instruction.kind === "INVALID") return protectEnd(instruction.text, escape);
  const { heredocs } = instruction.kind === "ONBUILD" ? instruction.instruction : instruction;
  const says = (text: string): boolean => {
    const read = readInstruction(`${withBodies(protectEnd(text, escape), heredocs)}\n`, escape);
    return read !== undefined && sameMeaning(read, instruction);
  };
  const text = says(instruction.text) ? instruction.text : writeInstruction(instruction, escape);
  if (text !== instruction.text && !says(text)) {
    const message = `no Containerfile can say this ${instruction.kind}: ${text.slice(0, 60)}`;
    throw new CooperError("syntax", message, { hint: "a line end needs a heredoc, a NUL cannot be written" });
  }
  return withBodies(protectEnd(withComments(text, inside, escape), escape), heredocs);
}

/** Equal but for places and the way an instruction was written. */
function sameMeaning(a: unknown, b: unknown): boolean {
  if (!isRecord(a) || !isRecord(b)) return a === b;
  const written = "heredocs" in a ? ["span", "text", "trigger", "comments"] : ["span"];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => written.includes(key) || sameMeaning(a[key], b[key]));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** Comments inside of a continued instruction stand behind its first word again. */
function withComments(text: string, comments: readonly string[], escape: Escape): string {
  if (comments.length === 0) return text;
  let at = 0;
  while (at < text.length && !isBlank(text.charCodeAt(at))) at++;
  while (at < text.length && isBlank(text.charCodeAt(at))) at++;
  // A line that begins with # would be a comment itself; no keyword has one for its second letter.
  if (at === text.length || text[at] === "#") at = 1;
  return `${text.slice(0, at)}${escape}\n${comments.join("\n")}\n${text.slice(at)}`;
}

/** A form feed is dropped at the end of a line, and an escape before it continues no line. */
function protectEnd(text: string, escape: Escape): string {
  return text.endsWith(escape) && text.at(-2) !== escape ? `${text}\f` : text;
}
