import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { readAll, readLine } from "../../src/cli/prompt.js";
import type { Sink } from "../../src/cli/world.js";

const signal = new AbortController().signal;
const silent: Sink = { write: () => {}, isTerminal: true, columns: 80, closed: false };

/** An input that acts like a terminal in raw mode and notes when the mode changes. */
function terminal(): PassThrough & { isTTY: boolean; modes: boolean[]; setRawMode: (raw: boolean) => void } {
  const modes: boolean[] = [];
  return Object.assign(new PassThrough(), {
    isTTY: true,
    modes,
    setRawMode: (raw: boolean) => void modes.push(raw),
  });
}

describe("a line", () => {
  test("may come in pieces, and what follows it is left for the next", async () => {
    const input = new PassThrough();
    const first = readLine(input, silent, { secret: false, signal });
    input.write("gr");
    input.write("üße\r\nnext\nrest");
    expect(await first).toBe("grüße");
    expect(await readLine(input, silent, { secret: false, signal })).toBe("next");
    input.end();
    expect(await readLine(input, silent, { secret: false, signal })).toBe("rest");
  });

  test("is missing at the end of the input", async () => {
    const input = new PassThrough();
    input.end();
    expect(await readLine(input, silent, { secret: false, signal })).toBeUndefined();
  });

  test("is not waited for after an interruption", async () => {
    const controller = new AbortController();
    const input = terminal();
    const line = readLine(input, silent, { secret: true, signal: controller.signal });
    controller.abort(new Error("interrupted"));
    await expect(line).rejects.toThrow("interrupted");
    expect(input.modes).toEqual([true, false]);
  });
});

describe("a secret", () => {
  const type = async (keys: string): Promise<string | undefined> => {
    const input = terminal();
    const line = readLine(input, silent, { secret: true, signal });
    input.write(keys);
    input.end();
    const answer = await line;
    expect(input.modes).toEqual([true, false]);
    return answer;
  };

  test.each([
    ["pass\r", "pass"],
    ["pä\u007fass\n", "pass"],
    ["wrong\u0015right\r", "right"],
    ["a\u0004b\r", "ab"],
    ["\u0004", undefined],
    ["unfinished", "unfinished"],
    ["\r", ""],
  ])("%j is %j", async (keys, answer) => {
    expect(await type(keys)).toBe(answer);
  });

  test("shows only the line break", async () => {
    let shown = "";
    const input = terminal();
    const line = readLine(
      input,
      { ...silent, write: (chunk) => void (shown += chunk.toString()) },
      { secret: true, signal },
    );
    input.write("pw\r");
    await line;
    expect(shown).toBe("\n");
  });
});

test("all of the input, but not without end", async () => {
  const input = new PassThrough();
  const all = readAll(input, signal);
  input.write("a\n");
  input.end("b\n");
  expect(await all).toBe("a\nb\n");
  const endless = new PassThrough();
  const refused = readAll(endless, signal);
  endless.write(Buffer.alloc(1024 * 1024 + 1));
  await expect(refused).rejects.toThrow("longer than 1 MiB");
});
