import type { Corpus } from "./corpus.js";
import type { Random } from "./random.js";

const MOST_CHANGES = 6;
const LONGEST = 200_000;

type Change = (text: string, corpus: Corpus, random: Random) => string;

/** A text of the corpus after a few changes. */
export function mutated(corpus: Corpus, random: Random): string {
  let text = random.pick(corpus.texts);
  for (let left = 1 + random.below(MOST_CHANGES); left > 0; left--) {
    text = random.pick(CHANGES)(text, corpus, random).slice(0, LONGEST);
  }
  return text;
}

/** Two offsets in order; the second is mostly near. */
function range(text: string, random: Random): readonly [number, number] {
  const start = random.below(text.length + 1);
  const length = random.below(random.oneIn(4) ? text.length + 1 : 12);
  return [start, Math.min(text.length, start + length)];
}

const insertPiece: Change = (text, { pieces }, random) => {
  const at = random.below(text.length + 1);
  return text.slice(0, at) + random.pick(pieces) + text.slice(at);
};

const replaceRange: Change = (text, { pieces }, random) => {
  const [start, end] = range(text, random);
  return text.slice(0, start) + random.pick(pieces) + text.slice(end);
};

const removeRange: Change = (text, _, random) => {
  const [start, end] = range(text, random);
  return text.slice(0, start) + text.slice(end);
};

/** Bits of the bytes, so that what was UTF-8 may be none. */
const flipBit: Change = (text, _, random) => {
  const bytes = Buffer.from(text);
  const at = random.below(bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  return bytes.toString("utf8");
};

const swapWords: Change = (text, _, random) => {
  const words = text.split(/(\s+)/);
  const [a, b] = [random.below(words.length), random.below(words.length)];
  [words[a], words[b]] = [words[b] ?? "", words[a] ?? ""];
  return words.join("");
};

const moveLine: Change = (text, _, random) => {
  const lines = text.split("\n");
  const [line = ""] = lines.splice(random.below(lines.length), 1);
  lines.splice(random.below(lines.length + 1), 0, line);
  return lines.join("\n");
};

const splice: Change = (text, { texts }, random) => {
  const other = random.pick(texts);
  const [start, end] = range(text, random);
  const [from, to] = range(other, random);
  return text.slice(0, start) + other.slice(from, to) + text.slice(end);
};

const append: Change = (text, { texts }, random) => `${text}\n${random.pick(texts)}`;

/** A range many times; seldom very many. */
const repeat: Change = (text, { pieces }, random) => {
  const [start, end] = range(text, random);
  const unit = random.oneIn(2) ? random.pick(pieces) : text.slice(start, end);
  const times = random.oneIn(20) ? 5000 : 2 + random.below(30);
  return (
    text.slice(0, end) +
    unit.repeat(Math.min(times, Math.ceil(LONGEST / (unit.length + 1)))) +
    text.slice(end)
  );
};

const SHELLS: readonly (readonly [string, string])[] = [
  ["${a:-", "}"],
  ['"', '"'],
  ["[", "]"],
  ["ONBUILD ", ""],
  ["${a/", "/b}"],
  ["\nRUN <<E\n", "\nE\n"],
];

/** A range inside of something, a few times over. */
const nest: Change = (text, _, random) => {
  const [start, end] = range(text, random);
  const [open, close] = random.pick(SHELLS);
  const depth = random.oneIn(20) ? 300 : 1 + random.below(4);
  return (
    text.slice(0, start) + open.repeat(depth) + text.slice(start, end) + close.repeat(depth) + text.slice(end)
  );
};

const changeLineEnds: Change = (text, _, random) =>
  random.oneIn(2) ? text.replaceAll("\n", "\r\n") : text.replaceAll("\n", " \\\n");

const CHANGES: readonly Change[] = [
  insertPiece,
  insertPiece,
  insertPiece,
  replaceRange,
  replaceRange,
  removeRange,
  flipBit,
  swapWords,
  moveLine,
  splice,
  append,
  repeat,
  nest,
  changeLineEnds,
];
