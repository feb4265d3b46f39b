import { IgnoreMatcher, readIgnoreFile } from "../../src/context/index.js";
import { applyFixes, lint } from "../../src/lint/index.js";
import {
  analyze,
  checkRunMount,
  type Containerfile,
  expandHeredoc,
  expandWord,
  expandWords,
  parse,
  parseRunMount,
  print,
} from "../../src/parser/index.js";
import { type Diagnostic, renderDiagnostic, type SourceText, type Span } from "../../src/source.js";
import type { CorpusName } from "./corpus.js";

/** One part of cooper that reads what users write. */
export interface Target {
  readonly corpus: CorpusName;
  /** Rejects with what is wrong: an exception that is no CooperError, or a property that does not hold. */
  readonly check: (text: string) => Promise<void>;
}

export const targets: Readonly<Record<string, Target>> = {
  parse: { corpus: "containerfiles", check: checkParse },
  analyze: { corpus: "containerfiles", check: checkAnalyze },
  print: { corpus: "containerfiles", check: checkPrint },
  lint: { corpus: "containerfiles", check: checkLint },
  expand: { corpus: "words", check: checkExpand },
  ignore: { corpus: "ignore-files", check: checkIgnore },
  mount: { corpus: "mounts", check: checkMount },
};

const sourceOf = (text: string): SourceText => ({ name: "Containerfile", text });

/** A text is parsed exactly when analyze finds no error; the AST is plain JSON. */
async function checkParse(text: string): Promise<void> {
  const { diagnostics } = await analyze(sourceOf(text));
  const wrong = diagnostics.some(({ severity }) => severity === "error");
  const file = await unlessRefused(() => parse(sourceOf(text)));
  holds((file === undefined) === wrong, "parse refuses what analyze does not, or the reverse");
  if (file)
    holds(JSON.stringify(JSON.parse(JSON.stringify(file))) === JSON.stringify(file), "the AST is no JSON");
}

/** Never throws, and every place is in the text. */
async function checkAnalyze(text: string): Promise<void> {
  const { file, diagnostics } = await analyze(sourceOf(text));
  const table = lineStarts(text);
  checkSpans(file, text, table);
  checkDiagnostics(diagnostics, text, table);
  const invalid = file.instructions.some(({ kind }) => kind === "INVALID");
  holds(
    !invalid || diagnostics.some(({ severity }) => severity === "error"),
    "an INVALID node without an error",
  );
}

/** What has no errors is printed to a text with an equal AST. */
async function checkPrint(text: string): Promise<void> {
  const file = await unlessRefused(() => parse(sourceOf(text)));
  if (!file) return;
  const printed = await print(file);
  const again = await parse(sourceOf(printed));
  holds(
    withoutPlaces(again) === withoutPlaces(file),
    `it is printed as another file: ${JSON.stringify(printed)}`,
  );
}

/** Findings have places in the text, and a fixed text has no errors. */
async function checkLint(text: string): Promise<void> {
  const file = await unlessRefused(() => parse(sourceOf(text)));
  if (!file) return;
  const found = lint(sourceOf(text), file, { platform: { os: "linux", architecture: "amd64" } });
  checkDiagnostics(found, text, lineStarts(text));
  const fixed = applyFixes(text, found);
  if (fixed.fixed.length === 0) return;
  const { diagnostics } = await analyze(sourceOf(fixed.text));
  const error = diagnostics.find(({ severity }) => severity === "error");
  holds(!error, `fixed, it has an error: ${error?.message} in ${JSON.stringify(fixed.text)}`);
}

const VALUES: Readonly<Record<string, string>> = { a: "abc", e: "", x: "x/y.z", PATH: "/bin:/usr/bin" };
const lookup = (name: string): string | undefined => (Object.hasOwn(VALUES, name) ? VALUES[name] : undefined);

async function checkExpand(text: string): Promise<void> {
  for (const escape of ["\\", "`"] as const) {
    const word = await unlessRefused(() => expandWord(text, lookup, { escape }));
    const words = await unlessRefused(() => expandWords(text, lookup, { escape }));
    holds((word === undefined) === (words === undefined), "one of expandWord and expandWords refuses it");
  }
  await unlessRefused(() => expandHeredoc(text, lookup));
}

const PATHS = ["a", "a/b", "src/x.o", "node_modules/a/b/c", ".git", "é/😀", "!x", "[a]"];

async function checkIgnore(text: string): Promise<void> {
  await unlessRefused(() => {
    const matcher = new IgnoreMatcher(readIgnoreFile(text));
    for (const path of PATHS) {
      const { ignored, pattern } = matcher.explain(path);
      holds(!ignored || pattern !== undefined, `nothing hides ${path}, and it is hidden`);
    }
    return true;
  });
}

async function checkMount(text: string): Promise<void> {
  const mount = await unlessRefused(() => parseRunMount(text));
  const checked = await unlessRefused(() => checkRunMount(text, (value) => value) ?? "unknown");
  holds(JSON.stringify(mount) === JSON.stringify(checked), "parseRunMount and checkRunMount differ");
  await unlessRefused(
    () => checkRunMount(text, (value) => (value.includes("$") ? undefined : value)) ?? true,
  );
}

/** The result; undefined when the text was refused with a CooperError. */
async function unlessRefused<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Error && error.name === "CooperError") return undefined;
    throw error;
  }
}

function holds(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}

function withoutPlaces(file: Containerfile): string {
  const drop = ["span", "warnings"];
  return JSON.stringify(file, (key, value: unknown) => (drop.includes(key) ? undefined : value));
}

function checkDiagnostics(found: readonly Diagnostic[], text: string, starts: readonly number[]): void {
  for (const one of found) {
    checkSpan(one.span, text, starts);
    renderDiagnostic(sourceOf(text), one);
    for (const { start, end } of one.fix ?? []) {
      holds(0 <= start && start <= end && end <= text.length, `an edit outside of the text: ${start}-${end}`);
    }
  }
}

function checkSpans(value: unknown, text: string, starts: readonly number[]): void {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
    if (key === "span") checkSpan(inner as Span, text, starts);
    else checkSpans(inner, text, starts);
  }
}

/** In the text, and on the line and column of its offset. */
function checkSpan(span: Span, text: string, starts: readonly number[]): void {
  const { start, end, line, column, endLine } = span;
  const shown = JSON.stringify(span);
  holds(0 <= start && start <= end && end <= text.length, `a place outside of the text: ${shown}`);
  const begin = starts[line - 1] ?? -1;
  holds(begin >= 0 && begin <= start && start <= (starts[line] ?? Infinity), `not on its line: ${shown}`);
  const mark = line === 1 && text.startsWith("\ufeff") ? 1 : 0;
  holds(column === Math.max(0, start - begin - mark) + 1, `not in its column: ${shown}`);
  const last = starts[endLine - 1] ?? -1;
  holds(last >= 0 && last <= end && endLine >= line, `it ends on another line: ${shown}`);
}

function lineStarts(text: string): readonly number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}
