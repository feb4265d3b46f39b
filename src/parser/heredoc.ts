import type { Heredoc } from "./ast.js";
import { isBlank, quoteEnd } from "./characters.js";

/** `[fd]<<[-]WORD` in the one-line text of an instruction. */
export interface Opener {
  readonly start: number;
  readonly end: number;
  /** The delimiter without its quotes. */
  readonly name: string;
  readonly expand: boolean;
  readonly chomp: boolean;
}

const HEREDOC_INSTRUCTION = /^(?:onbuild[ \t\v\f\r]+)?(run|copy|add)(?![^ \t\v\f\r])/i;
/** A shell ends a delimiter here too, as in `(cat <<EOF)` or `cat <<EOF; echo done`. */
const SHELL_ENDS = ";|&()<>";

/**
 * The heredoc openers of an instruction, in order. An opener begins a word: not inside quotes, `${…}` or `$((…))`, where
 * `<<` means something else. So none is ever found in a JSON array. Source: Dockerfile reference, "Here-Documents".
 */
export function findOpeners(text: string): readonly Opener[] {
  if (!text.includes("<<")) return [];
  const head = HEREDOC_INSTRUCTION.exec(text);
  if (!head) return [];
  const ends = head[1]?.toLowerCase() === "run" ? SHELL_ENDS : "";
  const openers: Opener[] = [];
  let depth = 0;
  let closer = "";
  let wordStart = false;
  for (let at = head[0].length; at < text.length;) {
    const char = text[at] ?? "";
    if (depth === 0 && isBlank(char.charCodeAt(0))) {
      wordStart = true;
      at++;
      continue;
    }
    const opener = wordStart ? openerAt(text, at, ends) : undefined;
    wordStart = false;
    if (opener) {
      openers.push(opener);
      at = opener.end;
    } else if (char === "\\") at += 2;
    else if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, "\\");
      if (close < 0) break;
      at = close + 1;
    } else if (depth === 0 && (text.startsWith("${", at) || text.startsWith("$((", at))) {
      closer = text[at + 1] === "{" ? "}" : ")";
      depth = closer === "}" ? 1 : 2;
      at += 1 + depth;
    } else {
      if (depth > 0 && char === closer) depth--;
      else if (depth > 0 && char === (closer === "}" ? "{" : "(")) depth++;
      at++;
    }
  }
  return openers;
}

function openerAt(text: string, start: number, ends: string): Opener | undefined {
  let at = start;
  while (text.charCodeAt(at) >= 48 && text.charCodeAt(at) <= 57) at++;
  if (!text.startsWith("<<", at)) return undefined;
  at += 2;
  const chomp = text[at] === "-";
  if (chomp) at++;
  const from = at;
  let name = "";
  let expand = true;
  for (; at < text.length; at++) {
    const char = text[at] ?? "";
    if (isBlank(char.charCodeAt(0)) || ends.includes(char)) break;
    if (char === "<") return undefined;
    if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, "\\");
      if (close < 0) return undefined;
      const inner = text.slice(at + 1, close);
      name += char === '"' ? inner.replace(/\\([\\"$`])/g, "$1") : inner;
      expand = false;
      at = close;
    } else if (char === "\\") {
      expand = false;
      name += text[++at] ?? "";
    } else name += char;
  }
  return at === from ? undefined : { start, end: Math.min(at, text.length), name, expand, chomp };
}

/** The body of a `<<-` heredoc: every line without its leading tabs. */
export function chompTabs(body: string): string {
  return body.replace(/(^|\n)\t+/g, "$1");
}

/** An instruction's one-line text followed by its heredocs, as a shell or another parser reads it. No final newline. */
export function withBodies(text: string, heredocs: readonly Heredoc[]): string {
  return [text, ...heredocs.map((heredoc) => heredoc.body + heredoc.name)].join("\n");
}
