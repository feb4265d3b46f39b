import { digestOf } from "../image/index.js";
import type { Instruction } from "../parser/index.js";
import { parseTrigger, PARSER_VERSION } from "../parser/index.js";
import type { LayerCache } from "../cache/index.js";
import type { PlannedInstruction } from "./known-variables.js";

/**
 * ONBUILD triggers of a base image as instructions; they run before the stage's own. `base` is what FROM calls it. Each
 * is remembered by its text, since a cached build must not load the grammar. Throws `syntax` with the place in the trigger.
 */
export async function parseTriggers(
  base: string,
  texts: readonly string[],
  cache: LayerCache,
): Promise<readonly PlannedInstruction[]> {
  const triggers: PlannedInstruction[] = [];
  for (const text of texts) {
    const source = { name: `ONBUILD of ${base}`, text };
    const memo = digestOf(JSON.stringify(["trigger", PARSER_VERSION, text]));
    const known = cache.memo(memo);
    const instruction = known === undefined ? await parseTrigger(source) : (JSON.parse(known) as Instruction);
    if (known === undefined) cache.setMemo(memo, JSON.stringify(instruction));
    triggers.push({ instruction, at: { source, escape: "\\" } });
  }
  return triggers;
}
