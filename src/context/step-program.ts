import type { PatternStep } from "./ignore-regexp.js";
import { setHas } from "./ignore-regexp.js";

/** A pattern that is run over paths: at most steps times characters, whatever the pattern and the path. */
export interface StepProgram {
  matches(path: readonly number[]): boolean;
  /** True when some path that begins with this could match. */
  couldMatchAfter(beginning: readonly number[]): boolean;
}

const SLASH = 0x2f;
const NEWLINE = 0x0a;

/**
 * Runs steps as a nondeterministic automaton, all its states at once (Thompson), since ignore files are not trusted and
 * backtracking would let one line take minutes. State 2i stands before step i; 2i+1 is inside a `deep` step.
 */
export function programOf(steps: readonly PatternStep[]): StepProgram {
  const accept = steps.length * 2;
  let current: number[] = [];
  let next: number[] = [];
  const seen = new Uint32Array(accept + 1);
  let round = 0;

  /** Adds a state and those reachable from it without taking a character. */
  function enter(states: number[], state: number, isStart: boolean): void {
    for (let at = state; seen[at] !== round;) {
      seen[at] = round;
      states.push(at);
      const step = at % 2 === 0 ? steps[at / 2] : undefined;
      if (step === undefined || step.kind === "one" || (step.kind === "begin" && !isStart)) return;
      if (step.kind === "deep" && seen[at + 1] !== round) {
        seen[at + 1] = round;
        states.push(at + 1);
      }
      at += 2;
    }
  }

  function advance(state: number, rune: number): void {
    if (state % 2 === 1) {
      if (rune === SLASH) enter(next, state + 1, false);
      if (rune !== NEWLINE && seen[state] !== round) {
        seen[state] = round;
        next.push(state);
      }
      return;
    }
    const step = steps[state / 2];
    if (step?.kind === "one" && setHas(step.set, rune)) enter(next, state + 2, false);
    else if (step?.kind === "many" && setHas(step.set, rune)) enter(next, state, false);
  }

  /** The states left after a path; none as soon as nothing can match any more. */
  function run(path: readonly number[]): readonly number[] {
    round = nextRound(seen, round);
    current = [];
    enter(current, 0, true);
    for (const rune of path) {
      round = nextRound(seen, round);
      next = [];
      for (const state of current) advance(state, rune);
      current = next;
      if (current.length === 0) break;
    }
    return current;
  }

  return {
    matches: (path) => run(path).includes(accept),
    couldMatchAfter: (beginning) => run(beginning).some((state) => state !== accept),
  };
}

/** The next mark for `seen`, which is cleared before the marks run out. */
function nextRound(seen: Uint32Array, round: number): number {
  if (round < 0xffff_ffff) return round + 1;
  seen.fill(0);
  return 1;
}
