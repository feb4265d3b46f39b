import { expect, test } from "vitest";
import { parseTriggers } from "../../src/builder/triggers.js";
import type { LayerCache } from "../../src/cache/index.js";

/** A cache that has nothing but its memos. */
function memoCache(memos: Map<string, string>): LayerCache {
  return {
    lookup: () => undefined,
    record: () => undefined,
    explain: () => undefined,
    memo: (name: string) => memos.get(name),
    setMemo: (name: string, value: string) => void memos.set(name, value),
  } as unknown as LayerCache;
}

test("a trigger seen before is not parsed again, whatever its image is called", async () => {
  const memos = new Map<string, string>();
  const texts = ["RUN <<E\ntrue\nE", "ENV a=1"];
  const first = await parseTriggers("one", texts, memoCache(memos));
  expect(memos.size).toBe(2);
  const again = await parseTriggers("two", texts, memoCache(memos));
  expect(again.map(({ instruction }) => instruction)).toEqual(first.map(({ instruction }) => instruction));
  expect(again[0]?.at.source.name).toBe("ONBUILD of two");
  for (const name of memos.keys()) memos.set(name, JSON.stringify({ kind: "remembered" }));
  const remembered = await parseTriggers("one", texts, memoCache(memos));
  expect(remembered.map(({ instruction }) => instruction.kind)).toEqual(["remembered", "remembered"]);
});
