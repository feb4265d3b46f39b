import type { IToken } from "chevrotain";
import { EmbeddedActionsParser } from "chevrotain";
import { quoted } from "./diagnostics.js";
import type { Vocabulary } from "./tokens.js";

/** What the grammar finds: the tokens of one instruction in their places. Meaning is given to them in `instruction.ts`. */
export type Syntax =
  | (Head & { readonly shape: "from"; readonly image: IToken; readonly alias?: IToken })
  | (Head & { readonly shape: "command"; readonly command: CommandSyntax })
  | (Head & { readonly shape: "shell"; readonly array: ArraySyntax })
  | (Head & { readonly shape: "words"; readonly words: readonly IToken[]; readonly array?: ArraySyntax })
  | (Head & { readonly shape: "pairs"; readonly pairs: readonly PairSyntax[] })
  | (Head & { readonly shape: "text"; readonly text: IToken })
  | (Head & { readonly shape: "healthcheck"; readonly command?: CommandSyntax })
  | (Head & { readonly shape: "onbuild"; readonly instruction: Syntax });

interface Head {
  readonly keyword: IToken;
  readonly flags: readonly IToken[];
}
export interface ArraySyntax {
  readonly elements: readonly IToken[];
}
/** Without an array and a text the command is empty. */
export type CommandSyntax = { readonly array: ArraySyntax } | { readonly text?: IToken };
export interface PairSyntax {
  readonly key: IToken;
  /** Missing in `ARG name`. */
  readonly equals?: IToken;
  /** Missing in `name=` too. */
  readonly value?: IToken;
  readonly legacy: boolean;
}

/**
 * The grammar of one instruction, LL(1): `instruction` is the start rule. It only places tokens; flag names, durations,
 * names and numbers of words are judged afterwards. Its messages leave out the keyword that they are about.
 */
export class InstructionGrammar extends EmbeddedActionsParser {
  private readonly tokens: Vocabulary;

  constructor(vocabulary: Vocabulary, options: { readonly validate: boolean }) {
    super(vocabulary.all, {
      maxLookahead: 1,
      recoveryEnabled: false,
      skipValidations: !options.validate,
      errorMessageProvider: {
        buildMismatchTokenMessage: ({ actual }) =>
          `cannot have ${JSON.stringify(actual.image.slice(0, 60))} here`,
        buildNotAllInputParsedMessage: ({ firstRedundant }) => unexpected(firstRedundant),
        buildNoViableAltMessage: ({ customUserDescription }) => customUserDescription ?? "",
        buildEarlyExitMessage: ({ customUserDescription }) => customUserDescription ?? "",
      },
    });
    this.tokens = vocabulary;
    this.performSelfAnalysis();
  }

  private readonly flags = this.RULE("flags", (): readonly IToken[] => {
    const found: IToken[] = [];
    this.MANY(() => {
      found.push(this.CONSUME(this.tokens.Flag));
    });
    this.OPTION(() => this.CONSUME(this.tokens.EndOfFlags));
    return found;
  });

  private readonly array = this.RULE("array", (): ArraySyntax => {
    const elements: IToken[] = [];
    this.CONSUME(this.tokens.JsonOpen, {
      ERR_MSG: 'needs a JSON array of strings, such as ["/bin/bash", "-c"]',
    });
    this.MANY_SEP({
      SEP: this.tokens.JsonComma,
      DEF: () => {
        elements.push(
          this.OR([
            { ALT: () => this.CONSUME(this.tokens.JsonString) },
            { ALT: () => this.CONSUME(this.tokens.JsonOther) },
          ]),
        );
      },
    });
    this.CONSUME(this.tokens.JsonClose);
    return { elements };
  });

  private readonly command = this.RULE("command", (): CommandSyntax => {
    const found = this.OPTION(() =>
      this.OR<CommandSyntax>([
        { ALT: () => ({ array: this.SUBRULE(this.array) }) },
        { ALT: () => ({ text: this.CONSUME(this.tokens.Text) }) },
      ]),
    );
    return found ?? {};
  });

  private readonly words = this.RULE("words", (): readonly IToken[] => {
    const found: IToken[] = [];
    this.AT_LEAST_ONE({
      DEF: () => {
        found.push(
          this.OR([
            { ALT: () => this.CONSUME(this.tokens.Word) },
            { ALT: () => this.CONSUME(this.tokens.HeredocOpener) },
          ]),
        );
      },
      ERR_MSG: "needs at least one argument",
    });
    return found;
  });

  private readonly from = this.RULE("from", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.From);
    const found = this.SUBRULE(this.flags);
    const image = this.CONSUME(this.tokens.Word, { ERR_MSG: "needs an image" });
    const alias = this.OPTION(() => {
      this.CONSUME(this.tokens.As, { ERR_MSG: 'takes one image, or "image AS name"' });
      return this.CONSUME1(this.tokens.Word, { ERR_MSG: "needs a stage name after AS" });
    });
    return { shape: "from", keyword, flags: found, image, ...(alias ? { alias } : {}) };
  });

  private readonly commandInstruction = this.RULE("commandInstruction", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.CommandKeyword);
    return {
      shape: "command",
      keyword,
      flags: this.SUBRULE(this.flags),
      command: this.SUBRULE(this.command),
    };
  });

  private readonly shell = this.RULE("shell", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Shell);
    return { shape: "shell", keyword, flags: this.SUBRULE(this.flags), array: this.SUBRULE(this.array) };
  });

  private readonly files = this.RULE("files", (): Syntax => {
    const keyword = this.OR([
      { ALT: () => this.CONSUME(this.tokens.FilesKeyword) },
      { ALT: () => this.CONSUME(this.tokens.Volume) },
    ]);
    const found = this.SUBRULE(this.flags);
    return this.OR1({
      DEF: [
        {
          ALT: () => ({
            shape: "words" as const,
            keyword,
            flags: found,
            words: [],
            array: this.SUBRULE(this.array),
          }),
        },
        { ALT: () => ({ shape: "words" as const, keyword, flags: found, words: this.SUBRULE(this.words) }) },
      ],
      ERR_MSG: "needs at least one argument",
    });
  });

  private readonly expose = this.RULE("expose", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Expose);
    return { shape: "words", keyword, flags: this.SUBRULE(this.flags), words: this.SUBRULE(this.words) };
  });

  private readonly value = this.RULE("value", (): Omit<PairSyntax, "key"> => {
    const equals = this.CONSUME(this.tokens.Equals, {
      ERR_MSG: 'needs "=" after the name, as in name=value',
    });
    const found = this.OPTION(() => this.CONSUME(this.tokens.Value));
    return { equals, legacy: false, ...(found ? { value: found } : {}) };
  });

  private readonly pairsInstruction = this.RULE("pairsInstruction", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.PairsKeyword);
    const found = this.SUBRULE(this.flags);
    const pairs: PairSyntax[] = [];
    const firstKey = this.CONSUME(this.tokens.Key, { ERR_MSG: "needs a name and a value" });
    this.OR({
      DEF: [
        {
          ALT: () =>
            pairs.push({ key: firstKey, value: this.CONSUME(this.tokens.LegacyValue), legacy: true }),
        },
        {
          ALT: () => {
            pairs.push({ key: firstKey, ...this.SUBRULE(this.value) });
            this.MANY(() => {
              pairs.push({ key: this.CONSUME1(this.tokens.Key), ...this.SUBRULE1(this.value) });
            });
          },
        },
      ],
      ERR_MSG: "needs a value after the name",
    });
    return { shape: "pairs", keyword, flags: found, pairs };
  });

  private readonly arg = this.RULE("arg", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Arg);
    const found = this.SUBRULE(this.flags);
    const pairs: PairSyntax[] = [];
    this.AT_LEAST_ONE({
      DEF: () => {
        const key = this.CONSUME(this.tokens.Key);
        pairs.push(this.OPTION(() => ({ key, ...this.SUBRULE(this.value) })) ?? { key, legacy: false });
      },
      ERR_MSG: "needs a name",
    });
    return { shape: "pairs", keyword, flags: found, pairs };
  });

  private readonly text = this.RULE("text", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.TextKeyword);
    const found = this.SUBRULE(this.flags);
    return {
      shape: "text",
      keyword,
      flags: found,
      text: this.CONSUME(this.tokens.QuotedText, { ERR_MSG: "needs an argument" }),
    };
  });

  private readonly maintainer = this.RULE("maintainer", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Maintainer);
    const found = this.SUBRULE(this.flags);
    return {
      shape: "text",
      keyword,
      flags: found,
      text: this.CONSUME(this.tokens.Text, { ERR_MSG: "needs a name" }),
    };
  });

  private readonly healthcheck = this.RULE("healthcheck", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Healthcheck);
    const found = this.SUBRULE(this.flags);
    const probe = this.OR({
      DEF: [
        { ALT: () => (this.CONSUME(this.tokens.None), undefined) },
        { ALT: () => (this.CONSUME(this.tokens.HealthCommand), this.SUBRULE(this.command)) },
      ],
      ERR_MSG: "needs NONE, or CMD and a command",
    });
    return { shape: "healthcheck", keyword, flags: found, ...(probe ? { command: probe } : {}) };
  });

  // Everything that may stand behind ONBUILD; so triggers do not nest, and the grammar does not recurse.
  private readonly trigger = this.RULE("trigger", (): Syntax => {
    return this.OR({
      DEF: [
        { ALT: () => this.SUBRULE(this.commandInstruction) },
        { ALT: () => this.SUBRULE(this.files) },
        { ALT: () => this.SUBRULE(this.pairsInstruction) },
        { ALT: () => this.SUBRULE(this.text) },
        { ALT: () => this.SUBRULE(this.arg) },
        { ALT: () => this.SUBRULE(this.expose) },
        { ALT: () => this.SUBRULE(this.shell) },
        { ALT: () => this.SUBRULE(this.healthcheck) },
      ],
      ERR_MSG: "needs an instruction",
    });
  });

  private readonly onbuild = this.RULE("onbuild", (): Syntax => {
    const keyword = this.CONSUME(this.tokens.Onbuild);
    return {
      shape: "onbuild",
      keyword,
      flags: this.SUBRULE(this.flags),
      instruction: this.SUBRULE(this.trigger),
    };
  });

  readonly instruction = this.RULE("instruction", (): Syntax => {
    return this.OR([
      { ALT: () => this.SUBRULE(this.from) },
      { ALT: () => this.SUBRULE(this.onbuild) },
      { ALT: () => this.SUBRULE(this.maintainer) },
      { ALT: () => this.SUBRULE(this.trigger) },
    ]);
  });
}

function unexpected(token: IToken): string {
  return `cannot have ${quoted(token.image)} here`;
}
