import type { Containerfile, FromInstruction, Instruction } from "../parser/index.js";
import type { Edit, SourceText, Span } from "../source.js";
import type { Environment } from "./environment.js";
import type { LintFacts } from "./facts.js";

/** What the documentation and SARIF say of a rule. */
export interface Rule {
  readonly name: string;
  /** `BuildKit`: its name and its conditions; `cooper`: ours, unknown to other builders. */
  readonly origin: "BuildKit" | "cooper";
  /** What it says, in plain words; one sentence without a full stop. */
  readonly says: string;
  /** Why one should care; whole sentences. */
  readonly why: string;
  /** Instructions that make it fire, and how to write them. */
  readonly bad: string;
  readonly good: string;
  /** Whether `--fix` can mend it, at least in the plain cases. */
  readonly fixes: boolean;
  /** Silent unless `# check=experimental=` names it. */
  readonly experimental?: true;
}

/** One place where a rule fires. */
export interface Finding {
  readonly rule: string;
  readonly message: string;
  readonly span: Span;
  readonly hint?: string;
  readonly fix?: readonly Edit[];
}

/** A FROM with the instructions up to the next one. */
export interface Stage {
  readonly index: number;
  readonly from: FromInstruction;
  /** In lower case. */
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
  /** The last instruction of each kind. */
  readonly last: ReadonlyMap<Instruction["kind"], Instruction>;
}

/** A text, parsed. */
export interface TextScope {
  readonly source: SourceText;
  readonly file: Containerfile;
  readonly stages: readonly Stage[];
  /** ARGs before the first FROM. */
  readonly globals: readonly Instruction[];
}

/** One instruction after FROM, with what it sees. */
export interface StepScope extends TextScope {
  readonly stage: Stage;
  readonly instruction: Instruction;
  /** True for an ONBUILD of the stage that this one starts from: the instruction stands up there. */
  readonly isTrigger: boolean;
  /** As it is before the instruction. */
  readonly environment: Environment;
  readonly facts: LintFacts;
}

/** Findings that follow from the text alone. */
export interface TextRule {
  readonly rule: Rule;
  readonly find: (scope: TextScope) => Iterable<Finding>;
}

/** Findings about the work of a stage; only stages that are built are looked at. The FROM itself comes first. */
export interface StepRule {
  readonly rule: Rule;
  readonly find: (scope: StepScope) => Iterable<Finding>;
}
