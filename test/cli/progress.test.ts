import { describe, expect, test } from "vitest";
import type { CooperEvent } from "../../src/events.js";
import { jsonProgress } from "../../src/cli/progress/json.js";
import { plainProgress } from "../../src/cli/progress/plain.js";
import { ttyProgress } from "../../src/cli/progress/tty.js";
import { built, cached, digest, output, step } from "./fake-world.js";

function plain(events: readonly CooperEvent[], durations = false): string {
  const chunks: Buffer[] = [];
  const progress = plainProgress((chunk) => void chunks.push(Buffer.from(chunk)), { durations });
  for (const event of events) progress.onEvent(event);
  progress.finish();
  return Buffer.concat(chunks).toString("utf8");
}

const start = (at: ReturnType<typeof step>, text: string): CooperEvent => ({
  type: "step-start",
  step: at,
  text,
});
const layer = (digit: string, doneBytes: number, totalBytes: number): CooperEvent => ({
  type: "transfer",
  kind: "layer",
  digest: digest(digit),
  doneBytes,
  totalBytes,
});
const whole = (kind: "config" | "manifest", digit: string): CooperEvent => ({
  type: "transfer",
  kind,
  digest: digest(digit),
  doneBytes: 9,
  totalBytes: 9,
});

describe("plain", () => {
  test("one stage reads like podman", () => {
    const events: CooperEvent[] = [
      start(step(1, 1, 1, 4), "FROM alpine"),
      start(step(1, 1, 2, 4), "COPY package.json ."),
      cached(step(1, 1, 2, 4), "1"),
      start(step(1, 1, 3, 4), "RUN npm ci"),
      { type: "cache-miss", step: step(1, 1, 3, 4), reason: "package-lock.json changed" },
      output(step(1, 1, 3, 4), "added 12 pack"),
      output(step(1, 1, 3, 4), "ages\n"),
      output(step(1, 1, 3, 4), "no newline", "stderr"),
      built(step(1, 1, 3, 4), "2"),
      start(step(1, 1, 4, 4), 'CMD ["node"]'),
      { type: "commit", name: "localhost/hello:latest" },
      cached(step(1, 1, 4, 4), "3"),
      { type: "tagged", name: "localhost/hello:latest" },
    ];
    expect(plain(events)).toMatchInlineSnapshot(`
      "STEP 1/4: FROM alpine
      STEP 2/4: COPY package.json .
      --> Using cache 1111111111111111111111111111111111111111111111111111111111111111
      --> 111111111111
      STEP 3/4: RUN npm ci
      --> Cache miss: package-lock.json changed
      added 12 packages
      no newline
      --> 222222222222
      STEP 4/4: CMD ["node"]
      --> Using cache 3333333333333333333333333333333333333333333333333333333333333333
      COMMIT localhost/hello:latest
      --> 333333333333
      Successfully tagged localhost/hello:latest
      "
    `);
    expect(plain(events, true)).toContain("--> 222222222222 (1.2s)\n");
  });

  test("stages side by side say which line is whose and never mix lines", () => {
    const a = step(1, 2, 2, 2);
    const b = step(2, 2, 2, 2);
    const events: CooperEvent[] = [
      start(step(1, 2, 1, 2), "FROM one AS a"),
      start(step(2, 2, 1, 2), "FROM two"),
      start(a, "RUN make a"),
      output(a, "alone: 10%\r"),
      start(b, "RUN make b"),
      output(a, "a1\na2 begins, "),
      output(b, "b1\nb2 begins, "),
      output(a, "a2 ends\na3 unfinished"),
      output(b, "b2 ends\n"),
      { type: "cache-miss", step: b, reason: "the base image changed" },
      built(a, "1"),
      output(b, "alone again\n"),
      { type: "commit" },
      built(b, "2"),
    ];
    expect(plain(events)).toMatchInlineSnapshot(`
      "[1/2] STEP 1/2: FROM one AS a
      [2/2] STEP 1/2: FROM two
      [1/2] STEP 2/2: RUN make a
      alone: 10%
      [2/2] STEP 2/2: RUN make b
      [1/2] a1
      [2/2] b1
      [1/2] a2 begins, a2 ends
      [2/2] b2 begins, b2 ends
      [2/2] --> Cache miss: the base image changed
      [1/2] a3 unfinished
      [1/2] --> 111111111111
      alone again
      [2/2] COMMIT
      --> 222222222222
      "
    `);
  });

  test("output is passed byte for byte, colours and broken UTF-8 too", () => {
    const at = step(1, 1, 2, 2);
    const bytes = Buffer.from([0x1b, 0x5b, 0x33, 0x31, 0x6d, 0xff, 0xc3, 0x00, 0x0a]);
    const chunks: Buffer[] = [];
    const progress = plainProgress((chunk) => void chunks.push(Buffer.from(chunk)), { durations: false });
    progress.onEvent({ type: "output", step: at, stream: "stdout", chunk: bytes.subarray(0, 5) });
    progress.onEvent({ type: "output", step: at, stream: "stdout", chunk: bytes.subarray(5) });
    expect(Buffer.concat(chunks)).toEqual(bytes);
  });

  test("P3: an endless line beside another stage is broken, not kept in memory", () => {
    const a = step(1, 2, 2, 2);
    const events = [start(a, "RUN a"), start(step(2, 2, 2, 2), "RUN b")];
    const flood = Array.from({ length: 40 }, () => output(a, "x".repeat(1024)));
    const text = plain([...events, ...flood]);
    expect(text.match(/x/g)).toHaveLength(40 * 1024);
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThan(20 * 1024);
  });

  test("X11: names and messages are escaped", () => {
    const text = plain([
      start(step(1, 1, 2, 2), "RUN \u001b[2J\nSuccessfully tagged x"),
      { type: "warning", code: "w", message: "\u001b]0;x\u0007", where: "Containerfile:1:1" },
      { type: "notice", message: "a\rb" },
      { type: "tagged", name: "x\u009b" },
      { type: "commit", name: "\u001b[1m" },
      { type: "pull-start", reference: "\u001b[1m" },
      { type: "cache-miss", step: step(1, 1, 2, 2), reason: "\u001b[1m\n changed" },
    ]);
    expect(text).toMatch(/^[\n\x20-\x7e]+$/);
    expect(text.split("\n").filter((line) => line.startsWith("Successfully"))).toEqual([
      "Successfully tagged x\\x9b",
    ]);
  });

  test("a pull says what it copied, the manifest last", () => {
    expect(
      plain([
        { type: "pull-start", reference: "docker.io/library/alpine:3" },
        whole("manifest", "f"),
        whole("config", "c"),
        layer("1", 5, 10),
        layer("1", 10, 10),
        layer("1", 10, 10),
        { ...(layer("2", 0, 7) as Extract<CooperEvent, { type: "transfer" }>), skipped: true },
      ]),
    ).toMatchInlineSnapshot(`
      "Trying to pull docker.io/library/alpine:3...
      Copying config cccccccccc done
      Copying blob 111111111111 done
      Copying blob 222222222222 skipped: already exists
      Writing manifest to image destination
      "
    `);
  });

  test("a push too", () => {
    expect(
      plain([
        { type: "push-start", reference: "host/app:1" },
        layer("1", 10, 10),
        whole("config", "c"),
        whole("manifest", "f"),
      ]),
    ).toMatchInlineSnapshot(`
      "Copying blob 111111111111 done
      Copying config cccccccccc done
      Writing manifest to image destination
      "
    `);
  });

  test("a stage of nothing but FROM ends with its image", () => {
    const at = step(1, 1, 1, 1);
    expect(plain([start(at, "FROM alpine"), { type: "commit", name: "x" }, cached(at, "7")])).toBe(
      "STEP 1/1: FROM alpine\nCOMMIT x\n--> 777777777777\n",
    );
  });
});

describe("tty", () => {
  function tty(events: readonly CooperEvent[], columns = 60): string {
    let text = "";
    let time = 0;
    const options = { durations: false, columns, now: () => (time += 60) };
    const progress = ttyProgress((chunk) => void (text += Buffer.from(chunk).toString("utf8")), options);
    for (const event of events) progress.onEvent(event);
    progress.finish();
    return text;
  }

  test("a live line shows what is on its way and leaves nothing behind", () => {
    const text = tty([
      { type: "pull-start", reference: "alpine" },
      layer("1", 1_000_000, 10_000_000),
      layer("2", 0, 5_000_000),
      layer("1", 10_000_000, 10_000_000),
      layer("2", 5_000_000, 5_000_000),
    ]);
    expect(text.replaceAll("\r\u001b[K", "<clear>")).toMatchInlineSnapshot(`
      "Trying to pull alpine...
      <clear>Copying 1 blob: 1 MB / 10 MB<clear>Copying blob 111111111111 done
      <clear>Copying 1 blob: 0 B / 5 MB<clear>Copying blob 222222222222 done
      "
    `);
    expect(text.split("\n").at(-1)).toBe("");
  });

  test("it is cut to the terminal and never drawn into a step's unfinished line", () => {
    expect(tty([layer("1", 1, 2)], 10)).toBe("\r\u001b[KCopying 1\r\u001b[K");
    expect(tty([output(step(1, 1, 2, 2), "50%"), layer("1", 1, 2)])).toBe("50%");
  });
});

test("json: every event is one line, with bytes as base64", () => {
  let text = "";
  const progress = jsonProgress((chunk) => void (text += chunk.toString()));
  progress.onEvent(output(step(1, 1, 2, 2), "\u001b[31mred\n"));
  progress.onEvent({ type: "tagged", name: "x\u009b" });
  const lines = text.trimEnd().split("\n");
  expect(lines.map((line): unknown => JSON.parse(line))).toEqual([
    {
      type: "output",
      step: step(1, 1, 2, 2),
      stream: "stdout",
      data: Buffer.from("\u001b[31mred\n").toString("base64"),
    },
    { type: "tagged", name: "x\u009b" },
  ]);
  expect(text).toMatch(/^[\n\x20-\x7e]+$/);
});
