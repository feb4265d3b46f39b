import { CooperError } from "../errors.js";
import type { BytePath } from "../fs/index.js";
import { baseName, parentOf } from "../fs/index.js";
import { cleanGoPath, parentsOf, patternBytes, runesOf, trimSpace } from "./go-path.js";
import { isStar, literalOf, type PatternStep, shapeOf } from "./ignore-regexp.js";
import { tryMatch } from "./pattern-match.js";
import { programOf } from "./step-program.js";

/** The verdict of no pattern at all. */
export const NO_MATCH = -1;

/**
 * Decides what an ignore file hides. A verdict is the number of the last pattern that matches a path or one of its
 * parents (`NO_MATCH`: none), so a walk needs to carry only its directory's verdict.
 */
export interface IgnoreMatcher {
  /** True when the path is hidden: the last pattern that matches it or a parent of it has no `!`. */
  ignores(path: BytePath): boolean;
  /** The verdict on a path, given its parent directory's; `NO_MATCH` is the root's. */
  verdict(path: BytePath, parentVerdict: number): number;
  /** True when a verdict hides. */
  hides(verdict: number): boolean;
  /** False when nothing below a hidden directory can be re-included, so that it need not be read. */
  mayHoldVisible(dir: BytePath, verdict: number): boolean;
}

/** One pattern that no index answers. */
interface LoosePattern {
  readonly order: number;
  matches(path: string, runes: () => readonly number[]): boolean;
  couldMatchBelow(dir: string): boolean;
}

/**
 * Compiles patterns as `readIgnoreFile` returns them. Semantics: moby/patternmatcher, `New` and
 * `MatchesOrParentMatches`. Throws `context` for a malformed pattern, naming it.
 */
export function ignoreMatcher(patterns: readonly string[]): IgnoreMatcher {
  const index = new PatternIndex();
  for (const pattern of patterns) index.add(pattern);
  return index;
}

/** Patterns sorted by how they can be looked up; the order is the number of the pattern in its file. */
class PatternIndex implements IgnoreMatcher {
  readonly #reincludes: boolean[] = [];
  /** `a/b`. */
  readonly #byPath = new Map<string, number>();
  /** `a/b/**`, by the directory. */
  readonly #byParent = new Map<string, number>();
  /** `**\/b`, by the name. */
  readonly #byName = new Map<string, number>();
  /** `*.b` in the root, and `**\/*.b` anywhere. */
  readonly #rootEndings = new Endings();
  readonly #deepEndings = new Endings();
  /** All others, last first. */
  readonly #loose: LoosePattern[] = [];

  /** Where `!` patterns could match below: directories on the way to exact ones, and the last one that could match anywhere. */
  readonly #waysToVisible = new Map<string, number>();
  readonly #looseReincludes: LoosePattern[] = [];
  #anywhere = NO_MATCH;

  add(pattern: string): void {
    const trimmed = trimSpace(pattern);
    if (trimmed === "") return;
    const cleaned = cleanGoPath(patternBytes(trimmed));
    const reincludes = cleaned.startsWith("!");
    const text = reincludes ? cleaned.slice(1) : cleaned;
    const shape = text !== "" && tryMatch(text, ".") !== undefined ? shapeOf(text) : undefined;
    if (!shape)
      throw new CooperError("context", `the ignore pattern ${JSON.stringify(pattern)} is malformed`);
    const order = this.#reincludes.push(reincludes) - 1;
    if (shape.kind === "steps") this.#addSteps(shape.steps, order, reincludes);
    else if (shape.kind === "exact") this.#addExact(shape.text, order, reincludes);
    else if (shape.kind === "prefix") this.#addPrefix(shape.text, order, reincludes);
    else this.#addSuffix(shape.text, order, reincludes);
  }

  ignores(path: BytePath): boolean {
    let verdict = NO_MATCH;
    for (const parent of parentsOf(path)) verdict = this.verdict(parent, verdict);
    return this.hides(this.verdict(path, verdict));
  }

  hides(verdict: number): boolean {
    return verdict !== NO_MATCH && this.#reincludes[verdict] === false;
  }

  verdict(path: BytePath, parentVerdict: number): number {
    if (this.#reincludes.length === 0 || path === "") return NO_MATCH;
    const name = baseName(path);
    const parent = parentOf(path);
    let verdict = Math.max(
      parentVerdict,
      this.#byPath.get(path) ?? NO_MATCH,
      this.#byName.get(name) ?? NO_MATCH,
      parent === "" ? this.#rootEndings.find(name) : (this.#byParent.get(parent) ?? NO_MATCH),
      // A `.` of Go's regexps is no newline, and `**` in the middle of a pattern becomes one.
      parent.includes("\n") ? NO_MATCH : this.#deepEndings.find(name),
    );
    let runes: readonly number[] | undefined;
    const lazyRunes = (): readonly number[] => (runes ??= runesOf(path));
    for (let i = this.#loose.length - 1; i >= 0; i -= 1) {
      const pattern = this.#loose[i];
      if (!pattern || pattern.order <= verdict) break;
      if (pattern.matches(path, lazyRunes)) verdict = pattern.order;
    }
    return verdict;
  }

  mayHoldVisible(dir: BytePath, verdict: number): boolean {
    if (this.#anywhere > verdict || (this.#waysToVisible.get(dir) ?? NO_MATCH) > verdict) return true;
    return this.#looseReincludes.some((pattern) => pattern.order > verdict && pattern.couldMatchBelow(dir));
  }

  #addExact(text: string, order: number, reincludes: boolean): void {
    this.#byPath.set(text, order);
    if (reincludes) this.#addWays(text, order);
  }

  #addPrefix(text: string, order: number, reincludes: boolean): void {
    if (text.length > 1 && text.endsWith("/")) {
      // Whatever lies deeper has a parent that matches.
      this.#byParent.set(text.slice(0, -1), order);
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
    if (text.startsWith("/") && name !== "" && !name.includes("/")) this.#byName.set(name, order);
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
      (ending.isDeep ? this.#deepEndings : this.#rootEndings).add(ending.text, order);
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

/** Literal ends of names with the last pattern that has each; found by their lengths, of which there are few. */
class Endings {
  readonly #byText = new Map<string, number>();
  readonly #lengths = new Set<number>();

  add(text: string, order: number): void {
    this.#byText.set(text, order);
    this.#lengths.add(text.length);
  }

  find(name: string): number {
    let found = NO_MATCH;
    for (const length of this.#lengths) {
      if (length > name.length) continue;
      const order = this.#byText.get(name.slice(name.length - length));
      if (order !== undefined && order > found) found = order;
    }
    return found;
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
