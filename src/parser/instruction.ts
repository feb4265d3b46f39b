import type { IRecognitionException, IToken, Lexer, TokenType } from "chevrotain";
import type { Instruction } from "./ast.js";
import type { Escape } from "./characters.js";
import { type Findings, quoted } from "./diagnostics.js";
import { readFlags } from "./flags.js";
import { InstructionGrammar, type Syntax } from "./grammar.js";
import type { LogicalLine } from "./logical-lines.js";
import { spanOf, toInstruction } from "./meaning.js";
import { nearest } from "./suggest.js";
import type { TokenPayload } from "./token-patterns.js";
import { createLexer, createVocabulary, type LexingContext, type Vocabulary } from "./tokens.js";

/** What was read of one instruction. */
export interface InstructionReading {
  /** The keyword, also when the rest is wrong; missing when the first word is none. */
  readonly kind?: Instruction["kind"];
  /** The keyword that was probably meant by a first word that is none. */
  readonly meant?: string;
  /** Missing when the instruction has errors; they are reported. */
  readonly instruction?: Instruction;
}

/** Reads single instructions. Making one is dear (some 50 ms), so it is made once and used for every file. */
export type InstructionReader = (line: LogicalLine, escape: Escape, findings: Findings) => InstructionReading;

/** `validate` checks the token definitions and the grammar themselves, which only a test has to do. */
export function createInstructionReader(options: { readonly validate: boolean }): InstructionReader {
  const context: LexingContext = { escape: "\\", json: true, openers: new Map() };
  const vocabulary = createVocabulary(context);
  const lexer = createLexer(vocabulary, options);
  const grammar = new InstructionGrammar(vocabulary, options);
  return (line, escape, findings) => {
    context.escape = escape;
    context.openers = new Map(line.openers.map(({ start, end }) => [start, end]));
    const recognition = recognize(lexer, grammar, line.text, context, vocabulary);
    const { tokens, syntax } = recognition;
    const report: Report = { line, escape, findings, vocabulary };
    const before = findings.errorCount();
    reportQuotes(tokens, report);
    const found = keywordOf(tokens, report);
    if (syntax) {
      reportBadArray(recognition, report);
      const instruction = toInstruction(syntax, { line, escape, findings });
      return findings.errorCount() === before && !line.broken ? { ...found, instruction } : found;
    }
    reportFlags(tokens, report);
    if (findings.errorCount() === before) reportError(recognition, report);
    return found;
  };
}

interface Recognition {
  readonly tokens: readonly IToken[];
  readonly syntax?: Syntax;
  readonly error?: IRecognitionException;
  /** Where arguments begin that looked like a JSON array and are none. */
  readonly badArrayAt?: number;
}

interface Report {
  readonly line: LogicalLine;
  readonly escape: Escape;
  readonly findings: Findings;
  readonly vocabulary: Vocabulary;
}

/** What to write instead, for instructions that end where more stands. */
const FORMS: Readonly<Record<string, string>> = {
  FROM: "write FROM image, or FROM image AS name",
  HEALTHCHECK: "HEALTHCHECK NONE stands alone",
};

/** Arguments that begin with `[` are tried as a JSON array first; when they are none they are read as the other form. */
function recognize(
  lexer: Lexer,
  grammar: InstructionGrammar,
  text: string,
  context: LexingContext,
  { JsonOpen, Unknown }: Vocabulary,
): Recognition {
  context.json = true;
  const first = recognizeOnce(lexer, grammar, text, Unknown);
  const array = first.syntax ? undefined : first.tokens.find((token) => token.tokenType === JsonOpen);
  if (!array) return first;
  context.json = false;
  return { ...recognizeOnce(lexer, grammar, text, Unknown), badArrayAt: array.startOffset };
}

function recognizeOnce(
  lexer: Lexer,
  grammar: InstructionGrammar,
  text: string,
  unknown: TokenType,
): Recognition {
  const { tokens, errors } = lexer.tokenize(text);
  // Without a keyword there is no rule to try, and working out what a grammar expected is slow.
  if (errors.length > 0 || tokens[0]?.tokenType === unknown) return { tokens };
  grammar.input = tokens;
  const syntax = grammar.instruction();
  const [error] = grammar.errors;
  return error ? { tokens, error } : { tokens, syntax };
}

function keywordOf(tokens: readonly IToken[], report: Report): Omit<InstructionReading, "instruction"> {
  const [first] = tokens;
  if (!first) return {};
  if (report.vocabulary.isKeyword.has(first.tokenType)) {
    return { kind: first.tokenType.name as Instruction["kind"] };
  }
  const meant = meantKeyword(first, report);
  return meant === undefined ? {} : { meant };
}

function meantKeyword({ image }: IToken, { vocabulary, findings }: Report): string | undefined {
  if (findings.isFull()) return undefined;
  return nearest(
    image,
    [...vocabulary.isKeyword].map(({ name }) => name),
  );
}

function reportQuotes(tokens: readonly IToken[], { line, findings, vocabulary }: Report): void {
  for (const token of tokens) {
    const { unclosed } = (token.payload ?? {}) as TokenPayload;
    if (unclosed === undefined) continue;
    // Quotes are nothing special in the name of an ARG.
    const ofArg = tokens.slice(0, 2).some(({ tokenType }) => tokenType === vocabulary.Arg);
    if (ofArg && token.tokenType === vocabulary.Key) continue;
    const isWord = token.tokenType === vocabulary.Word;
    const message = `the quote ${line.text[unclosed] ?? ""} is never closed${isWord ? " in this word" : ""}`;
    const hint = isWord ? 'where names with blanks are allowed, write them as JSON: ["a b", "c"]' : undefined;
    findings.error("UnclosedQuote", message, line.locate(unclosed, unclosed + 1), hint);
  }
}

/** Other builders say nothing when an array is mistyped. A shell's test command and a file pattern may begin with `[` too. */
function reportBadArray({ badArrayAt, syntax }: Recognition, { line, findings }: Report): void {
  if (badArrayAt === undefined) return;
  const meant = /^\[["']/.test(line.text.slice(badArrayAt, badArrayAt + 2));
  if (!meant && !(syntax?.shape === "words" && line.text.endsWith("]"))) return;
  const span = line.locate(badArrayAt, line.text.length);
  findings.warning("InvalidJsonArray", "this is no valid JSON array, so it is taken as plain text", span);
}

/** Flags of an instruction that the grammar refused. */
function reportFlags(tokens: readonly IToken[], { line, escape, findings, vocabulary }: Report): void {
  for (let at = 0; at < tokens.length; at++) {
    const keyword = tokens[at];
    if (!keyword || !vocabulary.isKeyword.has(keyword.tokenType)) return;
    const flags: IToken[] = [];
    for (let next = tokens[at + 1]; next?.tokenType === vocabulary.Flag; next = tokens[at + 1]) {
      flags.push(next);
      at++;
    }
    const words = flags.map((flag) => ({ text: flag.image, span: spanOf(flag, line) }));
    readFlags(keyword.tokenType.name, words, escape, findings);
  }
}

function reportError({ tokens, error }: Recognition, report: Report): void {
  const { line, findings, vocabulary } = report;
  const { isKeyword, Unknown } = vocabulary;
  const owner = tokens.findLast((token, index) => index < 2 && isKeyword.has(token.tokenType)) ?? tokens[0];
  if (!owner) throw new Error(`no token in ${JSON.stringify(line.text.slice(0, 80))}`);
  const atEnd = !error || Number.isNaN(error.token.startOffset);
  const token = owner.tokenType === Unknown ? owner : atEnd ? tokens.at(-1) : culprit(error);
  if (!token) throw new Error("an owner without tokens");
  const span = spanOf(token, line);
  const rule = atEnd ? undefined : error.context.ruleStack.at(-1);
  if (token.tokenType === Unknown && (rule === "trigger" || token === tokens[0])) {
    const message = `unknown instruction ${quoted(token.image)}`;
    findings.error("UnknownInstruction", message, span, hintForUnknown(token, report));
  } else if (rule === "trigger" && isKeyword.has(token.tokenType)) {
    findings.error("InvalidTrigger", `ONBUILD cannot trigger ${token.tokenType.name}`, span);
  } else {
    const { name } = owner.tokenType;
    const hint = hintForSyntax(name, token, rule, error);
    findings.error("InvalidSyntax", `${name} ${error?.message ?? "cannot be read"}`, span, hint);
  }
}

function hintForUnknown(token: IToken, report: Report): string | undefined {
  const { line, escape, vocabulary } = report;
  const { image } = token;
  const meant = meantKeyword(token, report);
  const asked = meant === undefined ? "" : `did you mean ${meant}? `;
  if (/[^\x21-\x7e]/.test(image)) return `${asked}it holds characters other than plain letters`;
  if (meant !== undefined) return asked.trim();
  const glued = /^[a-z]+(?=["[-])/i.exec(image)?.[0].toUpperCase();
  if ([...vocabulary.isKeyword].some(({ name }) => name === glued)) return `put a blank behind ${glued}`;
  // Instructions are written in capitals, mostly; what is not may be the rest of a command.
  const mayContinue = token.startOffset === 0 && line.span.line > 1 && /[^A-Z]/.test(image);
  return mayContinue ? `when it belongs to the line above, that line must end with "${escape}"` : undefined;
}

function hintForSyntax(
  keyword: string,
  { image }: IToken,
  rule: string | undefined,
  error: IRecognitionException | undefined,
): string | undefined {
  if (image.startsWith("#")) return "a comment needs a line of its own";
  if (rule === "value") return 'a value with blanks needs quotes, as in name="one two"';
  if (error?.name === "NotAllInputParsedException") return FORMS[keyword];
  return rule === "healthcheck" ? "put CMD before the command" : undefined;
}

/** A missing "=" is the fault of the name before the place where it is missed. */
function culprit({
  token,
  previousToken,
  context,
}: IRecognitionException & { readonly previousToken?: IToken }): IToken {
  return context.ruleStack.at(-1) === "value" ? (previousToken ?? token) : token;
}
