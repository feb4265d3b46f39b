/**
 * The public API of Cooperage. `openCooper` gives everything that the `cooper` command does, typed, in process.
 *
 * @example
 * await using cooper = await openCooper();
 * const { imageId } = await cooper.build({ contextDir: ".", tags: ["registry.example.com/team/app:1"] });
 * await cooper.push(imageId, "registry.example.com/team/app:1");
 */
export { check, explainPaths, listContext, openCooper } from "./api/index.js";
export { IgnoreMatcher, readIgnoreFile } from "./context/index.js";
export type { IgnoreVerdict } from "./context/index.js";
export type {
  BuildOptions,
  BuildOutput,
  BuildResult,
  CheckOptions,
  ContextEntry,
  ContextListing,
  ContextOptions,
  Cooper,
  Diagnosis,
  DoctorCheck,
  DoctorDriver,
  HistoryRow,
  ImageDetails,
  ImageSummary,
  LintOptions,
  LintResult,
  OpenOptions,
  PathExplanation,
  PullPolicy,
  PushOptions,
  Removed,
  RunImageOptions,
  SaveFormat,
  Secret,
  TransferOptions,
} from "./cooper.js";
export { CooperError, hasCode } from "./errors.js";
export type { ErrorCode } from "./errors.js";
export type { CooperEvent, EventListener, StepPosition } from "./events.js";
export type { Descriptor, Digest, DiffId, ImageConfig, ImageFormat, ProcessConfig } from "./image/index.js";
export { rules as lintRules } from "./lint/index.js";
export type { Rule as LintRule } from "./lint/index.js";
export { renderDiagnostic } from "./source.js";
export type { Diagnostic, Edit, Severity, SourceText, Span } from "./source.js";
export {
  expandText as expand,
  expandTextWords as expandWords,
  parseText as parse,
  print,
} from "./parser/index.js";
export type {
  Analysis,
  Comment,
  Containerfile,
  Directive,
  ExpandTextOptions,
  Flag,
  Heredoc,
  Instruction,
  InvalidInstruction,
  ParseTextOptions,
  PartialContainerfile,
  Variables,
  Word,
} from "./parser/index.js";
