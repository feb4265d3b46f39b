import type { Diagnostic, Edit } from "../source.js";

/** A text after its fixes. */
export interface FixedText {
  readonly text: string;
  /** Findings whose fix was made, in order. */
  readonly fixed: readonly Diagnostic[];
}

/**
 * Makes the fixes of findings, each whole or not at all. A fix that touches what an earlier one changes is left for
 * another round, unless it is the same edit.
 */
export function applyFixes(text: string, findings: readonly Diagnostic[]): FixedText {
  const edits: Edit[] = [];
  const fixed: Diagnostic[] = [];
  for (const finding of findings) {
    const own = (finding.fix ?? []).filter((wanted) => !isSame(edits[placeOf(wanted, edits)], wanted));
    if (!finding.fix || own.some((wanted) => touchesOne(wanted, edits))) continue;
    for (const wanted of own) edits.splice(placeOf(wanted, edits), 0, wanted);
    fixed.push(finding);
  }
  return { text: edit(text, edits), fixed };
}

/** The index of the first of these edits, which are in order, that does not begin before another. */
function placeOf({ start }: Edit, edits: readonly Edit[]): number {
  let low = 0;
  let high = edits.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((edits[middle]?.start ?? start) < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isSame(a: Edit | undefined, b: Edit): boolean {
  return a?.start === b.start && a.end === b.end && a.text === b.text;
}

function touchesOne(wanted: Edit, edits: readonly Edit[]): boolean {
  const at = placeOf(wanted, edits);
  const [before, after] = [edits[at - 1], edits[at]];
  return (
    (before !== undefined && before.end >= wanted.start) || (after !== undefined && after.start <= wanted.end)
  );
}

function edit(text: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, text: replacement } of edits) {
    parts.push(text.slice(at, start), replacement);
    at = end;
  }
  parts.push(text.slice(at));
  return parts.join("");
}
