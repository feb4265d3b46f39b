import type { IToken } from "chevrotain";
import { unreachable } from "../errors.js";
import type { Span } from "../source.js";
import type { Command, Instruction, Word } from "./ast.js";
import type { Escape } from "./characters.js";
import { type Findings, quoted } from "./diagnostics.js";
import { readFlags } from "./flags.js";
import type { ArraySyntax, CommandSyntax, PairSyntax, Syntax } from "./grammar.js";
import { withBodies } from "./heredoc.js";
import type { LogicalLine } from "./logical-lines.js";

interface Scope {
  readonly line: LogicalLine;
  readonly escape: Escape;
  readonly findings: Findings;
}

type Shape<S extends Syntax["shape"]> = Extract<Syntax, { readonly shape: S }>;
type Base = Pick<Instruction, "span" | "text" | "flags" | "comments" | "heredocs">;

const STAGE_NAME = /^[a-z][a-z0-9_.-]*$/i;
const ARG_NAME = /^[\p{L}_][\p{L}\p{Nd}_.-]*$/u;

/** Gives the tokens of one instruction their meaning and reports what the grammar cannot see. After an error its result is of no use. */
export function toInstruction(syntax: Syntax, scope: Scope): Instruction {
  const { name } = syntax.keyword.tokenType;
  const base = baseOf(syntax, scope);
  switch (syntax.shape) {
    case "from":
      return from(syntax, base, scope);
    case "command":
      return command(syntax, base, scope);
    case "shell":
      return { kind: "SHELL", ...base, argv: nonEmpty(strings(syntax.array, scope), syntax.keyword, scope) };
    case "words":
      return name === "COPY" || name === "ADD" ? copy(name, syntax, base, scope) : list(syntax, base, scope);
    case "pairs":
      return name === "ARG" ? arg(syntax.pairs, base, scope) : pairs(syntax, base, scope);
    case "text":
      return text(syntax, base, scope);
    case "healthcheck":
      return healthcheck(syntax, base, scope);
    case "onbuild":
      return onbuild(syntax, base, scope);
    default:
      return unreachable(syntax);
  }
}

/** What stands behind ONBUILD has the comments and, if any, the flags of its own, and all of the heredocs. */
function baseOf({ shape, keyword, flags }: Syntax, { line, escape, findings }: Scope): Base {
  const start = keyword.startOffset;
  const words = flags.map((flag) => ({ text: flag.image, span: spanOf(flag, line) }));
  const { end, endLine } = line.span;
  return {
    span: start === 0 ? line.span : { ...line.locate(start, start + 1), end, endLine },
    text: line.text.slice(start),
    flags: readFlags(keyword.tokenType.name, words, escape, findings),
    comments: start === 0 ? line.comments : [],
    heredocs: shape === "onbuild" ? [] : line.heredocs,
  };
}

function from({ image, alias }: Shape<"from">, base: Base, { line, findings }: Scope): Instruction {
  const name = alias && wordOf(alias, line);
  if (name && !STAGE_NAME.test(name.text)) {
    const hint = "a stage name begins with a letter and holds letters, digits, _ . and -";
    findings.error("InvalidStageName", `the stage name ${quoted(name.text)} is not valid`, name.span, hint);
  }
  return { kind: "FROM", ...base, image: wordOf(image, line), ...(name ? { alias: name } : {}) };
}

function command(syntax: Shape<"command">, base: Base, scope: Scope): Instruction {
  const found = commandOf(syntax.command, scope);
  const { name } = syntax.keyword.tokenType;
  if (found.form === "shell" && found.text === "") {
    scope.findings.warning(
      "EmptyCommand",
      `${name} has no command: a shell will be given nothing`,
      base.span,
    );
  }
  if (name === "CMD" || name === "ENTRYPOINT") return { kind: name, ...base, command: found };
  if (found.form === "exec") nonEmpty(found.argv, syntax.keyword, scope);
  return { kind: "RUN", ...base, command: found };
}

function copy(kind: "COPY" | "ADD", syntax: Shape<"words">, base: Base, scope: Scope): Instruction {
  const { findings } = scope;
  const heredocs = syntax.words.map((word) => word.tokenType.name === "HeredocOpener");
  const words = wordsOf(syntax, scope);
  const destination = words.at(-1);
  if (!destination || heredocs.at(-1)) {
    const after = destination ? " after the heredoc" : "";
    findings.error(
      "MissingDestination",
      `${kind} needs a destination${after}`,
      destination?.span ?? base.span,
    );
    return { kind, ...base, sources: [], destination: { text: "", span: base.span }, json: false };
  }
  if (words.length < 2) {
    findings.error(
      "MissingSource",
      `${kind} needs at least one source before the destination`,
      destination.span,
    );
  }
  for (const { opener, name, span } of base.heredocs) {
    if (!/\s/.test(opener)) continue;
    const message = `the heredoc ${quoted(opener)} names a file, so no blank may stand in it`;
    const hint = `as in <<${name.replace(/\s+/g, "-")}`;
    findings.error("InvalidHeredocName", message, span, hint);
  }
  const sources = words.slice(0, -1).filter((_, index) => !heredocs[index]);
  return { kind, ...base, sources, destination, json: syntax.array !== undefined };
}

function list(syntax: Shape<"words">, base: Base, scope: Scope): Instruction {
  const kind = syntax.keyword.tokenType.name === "EXPOSE" ? "EXPOSE" : "VOLUME";
  const words = nonEmpty(wordsOf(syntax, scope), syntax.keyword, scope);
  for (const { text: word, span } of words) {
    if (/^(?:""|''|)$/.test(word)) scope.findings.error("EmptyWord", "an empty string names nothing", span);
  }
  return { kind, ...base, words, json: syntax.array !== undefined };
}

function pairs(syntax: Shape<"pairs">, base: Base, { line }: Scope): Instruction {
  const kind = syntax.keyword.tokenType.name === "ENV" ? "ENV" : "LABEL";
  const legacy = syntax.pairs.some((pair) => pair.legacy);
  const found = syntax.pairs.map((pair) => ({ key: wordOf(pair.key, line), value: valueOf(pair, line) }));
  return { kind, ...base, pairs: found, legacy };
}

function arg(syntax: readonly PairSyntax[], base: Base, { line, findings }: Scope): Instruction {
  const args = syntax.map((pair) => {
    const { text: name, span } = wordOf(pair.key, line);
    if (!ARG_NAME.test(name)) {
      const hint = "a name begins with a letter or _ and holds letters, digits and _";
      findings.warning("InvalidArgName", `nothing can refer to an ARG named ${quoted(name)}`, span, hint);
    }
    if (!pair.equals) return { name, span };
    const value = valueOf(pair, line);
    return { name, default: value, span: { ...span, end: value.span.end, endLine: value.span.endLine } };
  });
  return { kind: "ARG", ...base, args };
}

function text(syntax: Shape<"text">, base: Base, { line }: Scope): Instruction {
  const { name } = syntax.keyword.tokenType;
  const value = wordOf(syntax.text, line);
  if (name === "WORKDIR" || name === "USER" || name === "STOPSIGNAL") return { kind: name, ...base, value };
  return { kind: "MAINTAINER", ...base, value };
}

function healthcheck(syntax: Shape<"healthcheck">, base: Base, scope: Scope): Instruction {
  const found = syntax.command && commandOf(syntax.command, scope);
  if (found?.form === "exec") nonEmpty(found.argv, syntax.keyword, scope);
  if (found?.form === "shell" && found.text === "") {
    scope.findings.error("InvalidSyntax", "HEALTHCHECK needs a command after CMD", base.span);
  }
  if (found) return { kind: "HEALTHCHECK", ...base, command: found };
  const [flag] = base.flags;
  if (flag) scope.findings.warning("UnusedFlag", "HEALTHCHECK NONE has no use for flags", flag.span);
  return { kind: "HEALTHCHECK", ...base };
}

function onbuild(syntax: Shape<"onbuild">, base: Base, scope: Scope): Instruction {
  const instruction = toInstruction(syntax.instruction, scope);
  const trigger = withBodies(instruction.text, instruction.heredocs);
  return { kind: "ONBUILD", ...base, trigger, instruction };
}

function commandOf(syntax: CommandSyntax, scope: Scope): Command {
  if ("array" in syntax) return { form: "exec", argv: strings(syntax.array, scope) };
  return { form: "shell", text: syntax.text?.image ?? "" };
}

function wordsOf({ words, array }: Shape<"words">, scope: Scope): readonly Word[] {
  const { line } = scope;
  if (!array) return words.map((word) => wordOf(word, line));
  const texts = strings(array, scope);
  return array.elements.map((element, index) => {
    return { text: texts[index] ?? "", span: spanOf(element, line) };
  });
}

/** The strings of a JSON array. Other values are errors. */
function strings({ elements }: ArraySyntax, { line, findings }: Scope): readonly string[] {
  return elements.map((element) => {
    const value: unknown = JSON.parse(element.image);
    if (typeof value !== "string") {
      const hint = typeof value === "object" ? undefined : `put it in quotes: "${element.image}"`;
      findings.error("NotAString", "a JSON array may hold only strings here", spanOf(element, line), hint);
      return "";
    }
    if (value.includes("\0"))
      findings.error("NulCharacter", "a NUL character cannot stand here", spanOf(element, line));
    return value;
  });
}

function nonEmpty<T>(items: readonly T[], keyword: IToken, { line, findings }: Scope): readonly T[] {
  if (items.length === 0) {
    const message = `${keyword.tokenType.name} needs at least one argument; the array is empty`;
    findings.error("EmptyArray", message, spanOf(keyword, line));
  }
  return items;
}

function valueOf({ key, equals, value }: PairSyntax, line: LogicalLine): Word {
  if (value) return wordOf(value, line);
  const end = (equals ?? key).startOffset + (equals ?? key).image.length;
  return { text: "", span: line.locate(end, end) };
}

function wordOf(token: IToken, line: LogicalLine): Word {
  return { text: token.image, span: spanOf(token, line) };
}

/** The place of a token in the source, over continuation lines if need be. */
export function spanOf(token: IToken, line: LogicalLine): Span {
  return line.locate(token.startOffset, token.startOffset + token.image.length);
}
