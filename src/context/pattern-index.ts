import { CooperError } from "../errors.js";
import type { BytePath } from "../fs/index.js";
import { baseName, parentOf } from "../fs/index.js";
import { cleanGoPath, parentsOf, patternBytes, runesOf, trimSpace } from "./go-path.js";
import { isStar, literalOf, type PatternShape, type PatternStep, shapeOf } from "./ignore-regexp.js";
import { tryMatch } from "./pattern-match.js";
import { EndingTable, LooseTable, type PatternOrders, TextTable } from "./pattern-table.js";
import { starMatch } from "./star-match.js";
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
  readonly #byPath = new TextTable();
  /** `a/b/**`, by the directory: all below it. */
  readonly #byParent = new TextTable();
  /** `**\/b`, by the name. */
  readonly #byName = new TextTable();
  /** `*.b` in the root, and `**\/*.b` anywhere. */
  readonly #rootEndings = new EndingTable();
  readonly #deepEndings = new EndingTable();
  /** All others. */
  readonly #loose = new LooseTable();

  /** Where `!` patterns could match below: directories on the way to exact ones, and the last one that could match anywhere. */
  readonly #waysToVisible = new Map<string, number>();
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
    if (reincludes) this.#noteWays(shape, order);
    this.#ordersOf(text, shape).add(order, reincludes, this.#runStart);
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

  /**
   * The last line that matches says whether the path is hidden. What decided is the first line of its kind after the
   * last one that matches and says the opposite: each later one finds what it would say said already.
   */
  verdict(path: BytePath, parentVerdict: number): number {
    if (this.#reincludes.length === 0 || path === "") return NO_MATCH;
    const matching = this.#matching(path, parentVerdict);
    let hiding = NO_MATCH;
    let keeping = NO_MATCH;
    for (const orders of matching) {
      hiding = Math.max(hiding, orders.last(false));
      keeping = Math.max(keeping, orders.last(true));
    }
    if (Math.max(hiding, keeping) <= parentVerdict) return parentVerdict;
    const keeps = keeping > hiding;
    const opposite = Math.min(hiding, keeping);
    if (opposite <= parentVerdict && this.hides(parentVerdict) !== keeps) return parentVerdict;
    const since = Math.max(opposite, parentVerdict);
    let first = Infinity;
    for (const orders of matching) first = Math.min(first, orders.firstAfter(since, keeps));
    return first;
  }

  /** The lines that match a path, but for some up to `parentVerdict`, which do not count any more. */
  #matching(path: BytePath, parentVerdict: number): readonly PatternOrders[] {
    const name = baseName(path);
    const parent = parentOf(path);
    const found: PatternOrders[] = [];
    this.#byPath.find(path, found);
    this.#byName.find(name, found);
    if (parent === "") this.#rootEndings.find(name, found);
    // A `.` of Go's regexps is no newline, and `**` in the middle of a pattern becomes one.
    if (!parent.includes("\n")) this.#deepEndings.find(name, found);
    if (!this.#byParent.isEmpty)
      for (let dir = parent; dir !== ""; dir = parentOf(dir)) this.#byParent.find(dir, found);
    let runes: readonly number[] | undefined;
    this.#loose.find(path, parentVerdict, () => (runes ??= runesOf(path)), found);
    return found;
  }

  mayHoldVisible(dir: BytePath, verdict: number): boolean {
    if (this.#anywhere > verdict || (this.#waysToVisible.get(dir) ?? NO_MATCH) > verdict) return true;
    return this.#loose.couldKeepBelow(dir, verdict);
  }

  /** Where a pattern is kept. */
  #ordersOf(pattern: string, shape: PatternShape): PatternOrders {
    if (shape.kind === "steps") return this.#ordersOfSteps(pattern, shape.steps);
    const { kind, text } = shape;
    if (kind === "exact") return this.#byPath.ordersOf(text);
    if (kind === "suffix" && isNameEnding(text)) return this.#byName.ordersOf(text.slice(1));
    if (kind === "prefix" && isBelow(text)) return this.#byParent.ordersOf(text.slice(0, -1));
    return this.#loose.ordersOf(pattern, (orders) =>
      kind === "prefix"
        ? { orders, head: text, tail: "", matches: () => true, couldMatchBelow: () => true }
        : {
            orders,
            head: "",
            tail: text.startsWith("/") ? text.slice(1) : text,
            matches: (path) => path.endsWith(text) || `/${path}` === text,
            couldMatchBelow: () => true,
          },
    );
  }

  #ordersOfSteps(pattern: string, steps: readonly PatternStep[]): PatternOrders {
    const ending = endingOf(steps);
    if (ending) return (ending.isDeep ? this.#deepEndings : this.#rootEndings).ordersOf(ending.text);
    return this.#loose.ordersOf(pattern, (orders) => {
      const program = programOf(steps);
      return {
        orders,
        head: literalRun(steps),
        tail: literalRun(steps.toReversed()).split("").toReversed().join(""),
        matches: starMatch(pattern) ?? ((_path, runes) => program.matches(runes())),
        couldMatchBelow: (dir) => program.couldMatchAfter(runesOf(`${dir}/`)),
      };
    });
  }

  /** Notes where below a hidden directory a `!` pattern may match; loose ones are asked when it comes to it. */
  #noteWays(shape: PatternShape, order: number): void {
    if (shape.kind === "exact" || (shape.kind === "prefix" && isBelow(shape.text)))
      for (const parent of parentsOf(shape.text as BytePath)) this.#waysToVisible.set(parent, order);
    if (shape.kind === "suffix" || (shape.kind === "steps" && endingOf(shape.steps)?.isDeep === true))
      this.#anywhere = order;
  }
}

/** `a/` of `a/**`: all below a directory. */
function isBelow(text: string): boolean {
  return text.length > 1 && text.endsWith("/");
}

/** `/a` of `**\/a`: a name, wherever it is. */
function isNameEnding(text: string): boolean {
  return text.length > 1 && text.startsWith("/") && !text.includes("/", 1);
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
