import type { Diagnostic, Span } from "../source.js";

/** A piece of text as written: not expanded, quotes and escapes kept. Of a JSON array: the string, decoded. */
export interface Word {
  readonly text: string;
  readonly span: Span;
}

/** A comment line: without its `#`, blanks around it trimmed. */
export interface Comment {
  readonly text: string;
  /** From the `#` to the end of the text. */
  readonly span: Span;
}

/** `# name=value` at the top of the file, the name in lower case. */
export interface Directive {
  readonly name: string;
  readonly value: string;
  readonly span: Span;
}

export interface Flag {
  /** Without the leading dashes. */
  readonly name: string;
  /** Not expanded, but without its quotes and escapes. Missing for `--name` without `=`. */
  readonly value?: string;
  readonly span: Span;
}

/** A here-document. Source: reference BuildKit frontend 1.4, "Here-Documents". */
export interface Heredoc {
  /** The delimiter, quotes removed: the file's name in COPY and ADD. */
  readonly name: string;
  /** Lines end as they do in the file: in a file with CRLF, in CRLF. */
  readonly body: string;
  /** False when the delimiter was quoted. */
  readonly expand: boolean;
  /** True for `<<-`: leading tabs are already stripped from `body`. */
  readonly chomp: boolean;
  /** Text of the opener as written, e.g. `3<<-"EOF"`. */
  readonly opener: string;
  readonly span: Span;
}

/** Text in shell form has its continuation lines joined, comment lines dropped; leading and trailing blanks trimmed. */
export type Command =
  | { readonly form: "exec"; readonly argv: readonly string[] }
  | { readonly form: "shell"; readonly text: string };

interface Base {
  readonly span: Span;
  /** The instruction on one line, continuations joined, keyword as written; of a heredoc only the opener line. For STEP lines. */
  readonly text: string;
  readonly flags: readonly Flag[];
  /** Comment lines directly above, without `#`. */
  readonly comments: readonly string[];
  readonly heredocs: readonly Heredoc[];
}

export interface FromInstruction extends Base {
  readonly kind: "FROM";
  readonly image: Word;
  readonly alias?: Word;
}
export interface RunInstruction extends Base {
  readonly kind: "RUN";
  readonly command: Command;
}
export interface CommandInstruction extends Base {
  readonly kind: "CMD" | "ENTRYPOINT";
  readonly command: Command;
}
export interface CopyInstruction extends Base {
  readonly kind: "COPY" | "ADD";
  /** Heredoc openers are not among them: they stand in `heredocs` and are copied after the sources. */
  readonly sources: readonly Word[];
  readonly destination: Word;
  /** True when the words were a JSON array. */
  readonly json: boolean;
}
export interface PairsInstruction extends Base {
  readonly kind: "ENV" | "LABEL";
  readonly pairs: readonly { readonly key: Word; readonly value: Word }[];
  /** `ENV name rest of the line`. */
  readonly legacy: boolean;
}
export interface ArgInstruction extends Base {
  readonly kind: "ARG";
  /** A name is what stands there: quotes and variables in it are nothing special. */
  readonly args: readonly { readonly name: string; readonly default?: Word; readonly span: Span }[];
}
/** One raw string that the builder expands. */
export interface TextInstruction extends Base {
  readonly kind: "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER";
  readonly value: Word;
}
export interface ListInstruction extends Base {
  readonly kind: "EXPOSE" | "VOLUME";
  readonly words: readonly Word[];
  /** True when the words were a JSON array, which EXPOSE does not take. */
  readonly json: boolean;
}
export interface ShellInstruction extends Base {
  readonly kind: "SHELL";
  readonly argv: readonly string[];
}
export interface HealthcheckInstruction extends Base {
  readonly kind: "HEALTHCHECK";
  /** Missing for `HEALTHCHECK NONE`. Durations and counts in `flags` are checked: see `parseDuration`. */
  readonly command?: Command;
}
export interface OnbuildInstruction extends Base {
  readonly kind: "ONBUILD";
  /** The trigger's text (with heredoc bodies), as it is kept in the config. */
  readonly trigger: string;
  /** With the heredocs and flags of its own; those of the ONBUILD itself are empty. Never FROM, ONBUILD or MAINTAINER. */
  readonly instruction: Instruction;
}

export type Instruction =
  | FromInstruction
  | RunInstruction
  | CommandInstruction
  | CopyInstruction
  | PairsInstruction
  | ArgInstruction
  | TextInstruction
  | ListInstruction
  | ShellInstruction
  | HealthcheckInstruction
  | OnbuildInstruction;

/** An instruction that could not be read. Only an `Analysis` has them. */
export interface InvalidInstruction {
  readonly kind: "INVALID";
  /** In upper case; missing when the first word is no keyword. */
  readonly keyword?: Instruction["kind"];
  /** As it stands in the file, with its continuation lines and heredocs. */
  readonly text: string;
  readonly span: Span;
  /** Comment lines directly above, without `#`. */
  readonly comments: readonly string[];
}

/** A parsed Containerfile. Plain JSON data: it is cached on disk by the digest of the text. */
export interface Containerfile {
  readonly escape: "\\" | "`";
  readonly directives: readonly Directive[];
  /** Every comment line of the file, those inside of continued instructions too. Directives are none. */
  readonly comments: readonly Comment[];
  readonly instructions: readonly Instruction[];
  readonly warnings: readonly Diagnostic[];
}

/** As much of a Containerfile as could be read. A `Containerfile` is one, too. */
export interface PartialContainerfile extends Omit<Containerfile, "instructions" | "warnings"> {
  readonly instructions: readonly (Instruction | InvalidInstruction)[];
}

/** What `analyze` finds in a text, whatever is wrong with it. */
export interface Analysis {
  readonly file: PartialContainerfile;
  /** Errors and warnings in the order of the text. Beyond 10,000 errors a last one, `TooManyErrors`, counts the rest. */
  readonly diagnostics: readonly Diagnostic[];
}
