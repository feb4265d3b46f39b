import { CooperError } from "../errors.js";
import type { BytePath } from "../fs/index.js";
import { baseName, parentOf } from "../fs/index.js";
import { cleanGoPath, parentsOf, patternBytes, runesOf, trimSpace } from "./go-path.js";
import { isStar, literalOf, type PatternStep, shapeOf } from "./ignore-regexp.js";
import { tryMatch } from "./pattern-match.js";
import { programOf } from "./step-program.js";
import type { IgnoreLine } from "./types.js";

/** The verdict of no pattern at all. */
export const NO_MATCH = -1;

/**
 * Decides what an ignore file hides. A verdict is the number of the pattern that decided about a path (`NO_MATCH`: none
 * did), so a walk needs to carry only its directory's verdict. Decided by BuildKit's rule: what holds for a directory
 * holds for all below it; from there on a later pattern counts when it matches the path itself and says otherwise.
 */
export interface PatternIndex {
  /** True when the path is hidden. */
  ignores(path: BytePath): boolean;
  /** The verdict on a path, and for which path it was made: a parent, or the path itself. */
  decide(path: BytePath): { readonly verdict: number; readonly at: BytePath };
  /** The verdict on a path, given its parent directory's; `NO_MATCH` is the root's. */
  verdict(path: BytePath, parentVerdict: number): number;
  /** True when a verdict hides. */
  hides(verdict: number): boolean;
  /** False when nothing below a hidden directory can be re-included, so that it need not be read. */
  mayHoldVisible(dir: BytePath, verdict: number): boolean;
}

const BACKSLASH_HINT =
  'a backslash goes before a character like * or [ that is meant as such; "/" separates names';

/** One pattern that no index answers. */
interface LoosePattern {
  readonly order: number;
  matches(path: string, runes: () => readonly number[]): boolean;
  couldMatchBelow(dir: string): boolean;
}

/**
 * Compiles patterns as `parseIgnoreFile` returns them; blank ones match nothing. Semantics: moby/patternmatcher, `New`
 * and `MatchesUsingParentResults`. Throws `context` for a malformed pattern, naming it.
 */
export function patternIndex(patterns: readonly (string | IgnoreLine)[]): PatternIndex {
  const index = new Index();
  for (const each of patterns) {
    const { pattern, where } = typeof each === "string" ? { pattern: each, where: undefined } : each;
    if (!index.add(pattern)) throw malformed(pattern, where);
  }
  return index;
}

function malformed(pattern: string, where: string | undefined): CooperError {
  const place = where === undefined ? "" : `${where}: `;
  const message = `${place}the ignore pattern ${JSON.stringify(pattern)} is malformed`;
  const isWindowsPath = /\\[\p{L}\d]/u.test(pattern);
  return new CooperError("context", message, isWindowsPath ? { hint: BACKSLASH_HINT } : {});
}

/** Patterns sorted by how they can be looked up; the order is the number of the pattern in its file. */
class Index implements PatternIndex {
  readonly #reincludes: boolean[] = [];
  /** The first of the patterns up to the last one that all hide, or all re-include. */
  #runStart = 0;
  /** `a/b`. */
  readonly #byPath = new Orders();
  /** `a/b/**`, by the directory: all below it. */
  readonly #byParent = new Orders();
  /** `**\/b`, by the name. */
  readonly #byName = new Orders();
  /** `*.b` in the root, and `**\/*.b` anywhere. */
  readonly #rootEndings = new Endings();
  readonly #deepEndings = new Endings();
  /** All others. */
  readonly #loose: LoosePattern[] = [];

  /** Where `!` patterns could match below: directories on the way to exact ones, and the last one that could match anywhere. */
  readonly #waysToVisible = new Map<string, number>();
  readonly #looseReincludes: LoosePattern[] = [];
  #anywhere = NO_MATCH;

  /** False for a malformed pattern. */
  add(pattern: string): boolean {
    const trimmed = trimSpace(pattern);
    if (trimmed === "") {
      this.#number(false);
      return true;
    }
    const cleaned = cleanGoPath(patternBytes(trimmed));
    const reincludes = cleaned.startsWith("!");
    const text = reincludes ? cleaned.slice(1) : cleaned;
    const shape = text !== "" && tryMatch(text, ".") !== undefined ? shapeOf(text) : undefined;
    if (!shape) return false;
    const order = this.#number(reincludes);
    if (shape.kind === "steps") this.#addSteps(shape.steps, order, reincludes);
    else if (shape.kind === "exact") this.#addExact(shape.text, order, reincludes);
    else if (shape.kind === "prefix") this.#addPrefix(shape.text, order, reincludes);
    else this.#addSuffix(shape.text, order, reincludes);
    return true;
  }

  #number(reincludes: boolean): number {
    if (this.#reincludes.at(-1) !== reincludes) this.#runStart = this.#reincludes.length;
    return this.#reincludes.push(reincludes) - 1;
  }

  ignores(path: BytePath): boolean {
    return this.hides(this.decide(path).verdict);
  }

  decide(path: BytePath): { readonly verdict: number; readonly at: BytePath } {
    let found = { verdict: NO_MATCH, at: path };
    for (const at of [...parentsOf(path), path]) {
      const verdict = this.verdict(at, found.verdict);
      if (verdict !== found.verdict) found = { verdict, at };
    }
    return found;
  }

  hides(verdict: number): boolean {
    return verdict !== NO_MATCH && this.#reincludes[verdict] === false;
  }

  verdict(path: BytePath, parentVerdict: number): number {
    if (this.#reincludes.length === 0 || path === "") return NO_MATCH;
    let verdict = parentVerdict;
    const counts = (order: number): boolean =>
      order > verdict && this.#reincludes[order] === this.hides(verdict);
    let runes: readonly number[] | undefined;
    const lazyRunes = (): readonly number[] => (runes ??= runesOf(path));
    const indexed = this.#indexed(path, parentVerdict);
    let at = 0;
    for (const pattern of this.#loose) {
      for (let order = indexed[at]; order !== undefined && order < pattern.order; order = indexed[++at])
        if (counts(order)) verdict = order;
      if (counts(pattern.order) && pattern.matches(path, lazyRunes)) verdict = pattern.order;
    }
    for (const order of indexed.slice(at)) if (counts(order)) verdict = order;
    return verdict;
  }

  /** The patterns after `verdict` that match a path and that an index answers, in their order. */
  #indexed(path: BytePath, verdict: number): readonly number[] {
    const name = baseName(path);
    const parent = parentOf(path);
    const found: number[] = [];
    this.#byPath.find(path, verdict, found);
    this.#byName.find(name, verdict, found);
    if (parent === "") this.#rootEndings.find(name, verdict, found);
    // A `.` of Go's regexps is no newline, and `**` in the middle of a pattern becomes one.
    if (!parent.includes("\n")) this.#deepEndings.find(name, verdict, found);
    if (!this.#byParent.isEmpty)
      for (let dir = parent; dir !== ""; dir = parentOf(dir)) this.#byParent.find(dir, verdict, found);
    return found.length > 1 ? found.sort((a, b) => a - b) : found;
  }

  mayHoldVisible(dir: BytePath, verdict: number): boolean {
    if (this.#anywhere > verdict || (this.#waysToVisible.get(dir) ?? NO_MATCH) > verdict) return true;
    return this.#looseReincludes.some((pattern) => pattern.order > verdict && pattern.couldMatchBelow(dir));
  }

  #addExact(text: string, order: number, reincludes: boolean): void {
    this.#byPath.add(text, order, this.#runStart);
    if (reincludes) this.#addWays(text, order);
  }

  #addPrefix(text: string, order: number, reincludes: boolean): void {
    if (text.length > 1 && text.endsWith("/")) {
      this.#byParent.add(text.slice(0, -1), order, this.#runStart);
      if (reincludes) this.#addWays(text, order);
      return;
    }
    this.#addLoose({
      order,
      matches: (path) => path.startsWith(text),
      couldMatchBelow: (dir) => text.startsWith(`${dir}/`) || `${dir}/`.startsWith(text),
    });
  }

  #addSuffix(text: string, order: number, reincludes: boolean): void {
    const name = text.slice(1);
    if (reincludes) this.#anywhere = order;
    if (text.startsWith("/") && name !== "" && !name.includes("/"))
      this.#byName.add(name, order, this.#runStart);
    else
      this.#addLoose({
        order,
        matches: (path) => path.endsWith(text) || `/${path}` === text,
        couldMatchBelow: () => true,
      });
  }

  #addSteps(steps: readonly PatternStep[], order: number, reincludes: boolean): void {
    const ending = endingOf(steps);
    if (ending) {
      (ending.isDeep ? this.#deepEndings : this.#rootEndings).add(ending.text, order, this.#runStart);
      if (ending.isDeep && reincludes) this.#anywhere = order;
      return;
    }
    const program = programOf(steps);
    const head = literalRun(steps);
    const tail = literalRun(steps.toReversed()).split("").toReversed().join("");
    this.#addLoose({
      order,
      matches: (path, runes) => path.startsWith(head) && path.endsWith(tail) && program.matches(runes()),
      couldMatchBelow: (dir) => program.couldMatchAfter(runesOf(`${dir}/`)),
    });
  }

  #addLoose(pattern: LoosePattern): void {
    this.#loose.push(pattern);
    if (this.#reincludes[pattern.order] === true) this.#looseReincludes.push(pattern);
  }

  #addWays(text: string, order: number): void {
    for (const parent of parentsOf(text as BytePath)) this.#waysToVisible.set(parent, order);
  }
}

/** The patterns that one text stands for. Few texts stand for more than one, so only those have a list. */
class Orders {
  readonly #last = new Map<string, number>();
  readonly #earlier = new Map<string, number[]>();

  get isEmpty(): boolean {
    return this.#last.size === 0;
  }

  /** A pattern in a run of its kind that has the text already (`runStart` and later) would never count. */
  add(text: string, order: number, runStart: number): void {
    const last = this.#last.get(text) ?? NO_MATCH;
    if (last >= runStart) return;
    this.#last.set(text, order);
    if (last === NO_MATCH) return;
    const earlier = this.#earlier.get(text);
    if (earlier) earlier.push(last);
    else this.#earlier.set(text, [last]);
  }

  /** Adds those of a text that come after `verdict` to `found`. */
  find(text: string, verdict: number, found: number[]): void {
    const last = this.#last.get(text);
    if (last === undefined || last <= verdict) return;
    found.push(last);
    if (this.#earlier.size > 0)
      for (const order of this.#earlier.get(text) ?? []) if (order > verdict) found.push(order);
  }
}

/** Literal ends of names and the patterns that each stands for; found by their lengths, of which there are few. */
class Endings {
  readonly #byText = new Orders();
  readonly #lengths = new Set<number>();

  add(text: string, order: number, runStart: number): void {
    this.#byText.add(text, order, runStart);
    this.#lengths.add(text.length);
  }

  find(name: string, verdict: number, found: number[]): void {
    for (const length of this.#lengths)
      if (length <= name.length) this.#byText.find(name.slice(name.length - length), verdict, found);
  }
}

/** The literal of `*.b` or `**\/*.b`, of ASCII without a slash; undefined for any other pattern. */
function endingOf(
  steps: readonly PatternStep[],
): { readonly text: string; readonly isDeep: boolean } | undefined {
  const isDeep = steps[0]?.kind === "deep";
  const rest = isDeep ? steps.slice(1) : steps;
  const text = literalRun(rest.slice(1));
  if (!isStar(rest[0]) || text.length !== rest.length - 1 || text.includes("/")) return undefined;
  return { text, isDeep };
}

/** The ASCII literals that steps begin with. */
function literalRun(steps: readonly PatternStep[]): string {
  let run = "";
  for (const step of steps) {
    const rune = literalOf(step);
    if (rune === undefined || rune >= 0x80) break;
    run += String.fromCharCode(rune);
  }
  return run;
}
