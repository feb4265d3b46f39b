import type { CustomPatternMatcherFunc, IMultiModeLexerDefinition, IToken, TokenType } from "chevrotain";
import { createToken, Lexer } from "chevrotain";
import { blankAfter, type Escape, isSpace, unclosedQuote, wordEnd } from "./characters.js";
import { isBareDashes, jsonOther, jsonString, pairKey, quotedWord, withPayload } from "./token-patterns.js";

/** What the lexer must know about the text it reads and cannot see in it. Set before each instruction. */
export interface LexingContext {
  escape: Escape;
  /** False on the second try, when the text that began like a JSON array was none. */
  json: boolean;
  /** Where heredoc openers begin and end. */
  openers: ReadonlyMap<number, number>;
}

export type Vocabulary = ReturnType<typeof createVocabulary>;
type Keywords = ReturnType<typeof createKeywords>;

const BLANKS = /[ \t\v\f\r]+/;
const SPACES = /[ \t\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/**
 * The tokens of one instruction's one-line text. The keyword chooses the lexer's mode, so a mode is the shape of some
 * instructions' arguments: words, files, `name=value` pairs, a command, one text. `context` is read while tokenizing.
 */
export function createVocabulary(context: LexingContext) {
  const keywords = createKeywords();
  const head = createHead(context, keywords);
  const words = createWords(context);
  const pairs = createPairs(context);
  const json = createJson(
    context,
    (last) => head.isHead(last) || last === head.EndOfFlags || last === words.HealthCommand,
  );
  const { Word, As, HeredocOpener, Text, QuotedText, Unknown, None, HealthCommand } = words;
  const { Key, Equals, Nameless, LegacyValue, Value, ValueEnd } = pairs;
  const before = [head.Blank, head.EndOfFlags, head.Flag];
  const definition: IMultiModeLexerDefinition = {
    defaultMode: "keyword",
    modes: {
      keyword: [...before, ...keywords.isKeyword, Unknown],
      from: [...before, As, Word],
      words: [...before, Word],
      files: [...before, json.JsonOpen, HeredocOpener, Word],
      command: [...before, json.JsonOpen, Text],
      text: [...before, Text],
      "quoted-text": [...before, QuotedText],
      pairs: [head.Space, ...before, LegacyValue, Equals, Nameless, Key],
      arguments: [head.Space, ...before, Equals, Nameless, Key],
      value: [ValueEnd, Value],
      healthcheck: [...before, None, HealthCommand, Unknown],
      json: [json.JsonBlank, json.JsonComma, json.JsonClose, json.JsonString, json.JsonOther],
    },
  };
  const all = [...new Set([...Object.values(definition.modes).flat(), ...keywords.categories])];
  return { ...keywords, ...head, ...words, ...pairs, ...json, definition, all };
}

/** The lexer of a vocabulary. It stops at the first error: only a text that is no JSON array has one. */
export function createLexer({ definition }: Vocabulary, options: { readonly validate: boolean }): Lexer {
  return new Lexer(definition, {
    positionTracking: "onlyOffset",
    recoveryEnabled: false,
    skipValidations: !options.validate,
  });
}

/** One token for each instruction, named as the instruction; categories where several have the same grammar. */
function createKeywords() {
  const isKeyword = new Set<TokenType>();
  const keyword = (name: string, mode: string, parent?: TokenType): TokenType => {
    const token = createToken({
      name,
      pattern: wholeWord(name),
      push_mode: mode,
      ...(parent ? { categories: parent } : {}),
    });
    isKeyword.add(token);
    return token;
  };
  const category = (name: string, mode: string, members: readonly string[]): TokenType => {
    const parent = createToken({ name, pattern: Lexer.NA });
    for (const member of members) keyword(member, mode, parent);
    return parent;
  };
  const named = {
    CommandKeyword: category("CommandKeyword", "command", ["RUN", "CMD", "ENTRYPOINT"]),
    FilesKeyword: category("FilesKeyword", "files", ["COPY", "ADD"]),
    PairsKeyword: category("PairsKeyword", "pairs", ["ENV", "LABEL"]),
    TextKeyword: category("TextKeyword", "quoted-text", ["WORKDIR", "USER", "STOPSIGNAL"]),
  };
  return {
    ...named,
    From: keyword("FROM", "from"),
    Arg: keyword("ARG", "arguments"),
    Expose: keyword("EXPOSE", "words"),
    Volume: keyword("VOLUME", "files"),
    Shell: keyword("SHELL", "command"),
    Healthcheck: keyword("HEALTHCHECK", "healthcheck"),
    Onbuild: keyword("ONBUILD", "keyword"),
    Maintainer: keyword("MAINTAINER", "text"),
    isKeyword: isKeyword as ReadonlySet<TokenType>,
    categories: Object.values(named),
  };
}

/** Flags stand directly behind a keyword; further on, `--name` is a word like any other. */
function createHead(context: LexingContext, { isKeyword }: Keywords) {
  const isHead = (last: TokenType | undefined): boolean =>
    last !== undefined && (last === Flag || isKeyword.has(last));
  const Flag: TokenType = custom("Flag", (text, offset, before) => {
    const flag = text.startsWith("--", offset) && isHead(typeBefore(before, 1));
    return flag ? quotedWord(text, offset, context.escape) : null;
  });
  const EndOfFlags = custom("EndOfFlags", (text, offset, before) => {
    return isBareDashes(text, offset) && isHead(typeBefore(before, 1)) ? ["--"] : null;
  });
  const Blank = createToken({ name: "Blank", pattern: BLANKS, group: Lexer.SKIPPED });
  const Space = createToken({ name: "Space", pattern: SPACES, group: Lexer.SKIPPED });
  return { Blank, Space, Flag, EndOfFlags, isHead };
}

function createWords(context: LexingContext) {
  const plainWord: CustomPatternMatcherFunc = (text, offset) => [
    text.slice(offset, blankAfter(text, offset)),
  ];
  // Quotes do not keep a word together: names with blanks need the JSON form. Half of such a name cannot be expanded.
  const Word = custom("Word", (text, offset) => {
    const image = text.slice(offset, blankAfter(text, offset));
    const unclosed = /["']/.test(image) ? unclosedQuote(image, 0, context.escape) : undefined;
    return withPayload(image, unclosed === undefined ? undefined : offset + unclosed);
  });
  return {
    Word,
    As: createToken({ name: "As", pattern: wholeWord("as"), categories: Word }),
    HeredocOpener: custom("HeredocOpener", (text, offset) => {
      const end = context.openers.get(offset);
      return end === undefined ? null : [text.slice(offset, end)];
    }),
    Text: custom("Text", (text, offset) => [text.slice(offset)]),
    QuotedText: custom("QuotedText", (text, offset) =>
      withPayload(text.slice(offset), unclosedQuote(text, offset, context.escape)),
    ),
    Unknown: custom("Unknown", plainWord, { push_mode: "text" }),
    None: createToken({ name: "None", pattern: wholeWord("none") }),
    HealthCommand: createToken({ name: "HealthCommand", pattern: wholeWord("cmd"), push_mode: "command" }),
  };
}

/** `name=value`. The value has a mode of its own, so that the one of `name= other=…` is empty. */
function createPairs(context: LexingContext) {
  const Key = custom("Key", (text, offset) => pairKey(text, offset, context.escape));
  const beginsValue: CustomPatternMatcherFunc = (text, offset, before) =>
    text[offset] === "=" && typeBefore(before, 1) === Key && !isSpace(text.charCodeAt(offset - 1))
      ? ["="]
      : null;
  const Equals = custom("Equals", beginsValue, { push_mode: "value" });
  const Nameless = custom("Nameless", (text, offset) =>
    text[offset] === "=" ? [text.slice(offset, wordEnd(text, offset, context.escape).end)] : null,
  );
  const Value = custom("Value", (text, offset) => quotedWord(text, offset, context.escape), {
    pop_mode: true,
  });
  const ValueEnd = createToken({ name: "ValueEnd", pattern: SPACES, group: Lexer.SKIPPED, pop_mode: true });
  const ofPairs: readonly (TokenType | undefined)[] = [Key, Equals, Value];
  const LegacyValue = custom("LegacyValue", (text, offset, before) => {
    const afterFirstKey = typeBefore(before, 1) === Key && !ofPairs.includes(typeBefore(before, 2));
    if (!afterFirstKey || !isSpace(text.charCodeAt(offset - 1))) return null;
    return withPayload(text.slice(offset), unclosedQuote(text, offset, context.escape));
  });
  return { Key, Equals, Nameless, Value, ValueEnd, LegacyValue };
}

/** An array stands at the beginning of the arguments or nowhere. */
function createJson(context: LexingContext, beginsArguments: (last: TokenType | undefined) => boolean) {
  const open: CustomPatternMatcherFunc = (text, offset, before) =>
    context.json && text[offset] === "[" && beginsArguments(typeBefore(before, 1)) ? ["["] : null;
  return {
    JsonOpen: custom("JsonOpen", open, { push_mode: "json" }),
    JsonBlank: createToken({ name: "JsonBlank", pattern: /[ \t\r]+/, group: Lexer.SKIPPED }),
    JsonComma: createToken({ name: "JsonComma", pattern: "," }),
    JsonClose: createToken({ name: "JsonClose", pattern: "]", push_mode: "text" }),
    JsonString: custom("JsonString", jsonString),
    JsonOther: custom("JsonOther", jsonOther),
  };
}

function custom(
  name: string,
  pattern: CustomPatternMatcherFunc,
  modes: { readonly push_mode?: string; readonly pop_mode?: boolean } = {},
): TokenType {
  return createToken({ name, pattern, line_breaks: false, ...modes });
}

function wholeWord(name: string): RegExp {
  return new RegExp(`${name}(?![^ \\t\\v\\f\\r])`, "i");
}

function typeBefore(tokens: readonly IToken[], steps: number): TokenType | undefined {
  return tokens.at(-steps)?.tokenType;
}
