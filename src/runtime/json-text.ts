/** A JSON value whose whole numbers are exact: seccomp profiles compare 64-bit ones. */
export type JsonValue = null | boolean | number | bigint | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Where a text stops to be JSON, both counted from 1. */
export interface JsonError extends Error {
  readonly line: number;
  readonly column: number;
}

const DEEPEST = 64;

/** Reads a JSON text; whole numbers become bigints. Throws a `JsonError`, which JSON.parse has no place for. */
export function readJson(text: string): JsonValue {
  const reader = { text, at: 0 };
  skipSpace(reader);
  const value = readValue(reader, 0);
  if (reader.at < text.length) throw broken(reader, "nothing may follow the end");
  return value;
}

interface Reader {
  readonly text: string;
  at: number;
}

function broken({ text, at }: Reader, message: string): JsonError {
  const before = text.slice(0, at);
  const line = before.split("\n").length;
  const column = at - before.lastIndexOf("\n");
  return Object.assign(new Error(at >= text.length ? "it ends too early" : message), { line, column });
}

/** Matches at the place, and goes behind what it matched and the space after it. */
function take(reader: Reader, pattern: RegExp): string | undefined {
  pattern.lastIndex = reader.at;
  const found = pattern.exec(reader.text)?.[0];
  if (found === undefined) return undefined;
  reader.at += found.length;
  skipSpace(reader);
  return found;
}

function skipSpace(reader: Reader): void {
  const space = /[ \t\r\n]*/y;
  space.lastIndex = reader.at;
  reader.at += space.exec(reader.text)?.[0].length ?? 0;
}

const WORDS = { true: true, false: false, null: null } as const;
// oxlint-disable-next-line no-control-regex -- JSON forbids them
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

function readValue(reader: Reader, depth: number): JsonValue {
  if (depth > DEEPEST) throw broken(reader, "it is nested too deep");
  if (take(reader, /\{/y) !== undefined) return readObject(reader, depth + 1);
  if (take(reader, /\[/y) !== undefined) return readArray(reader, depth + 1);
  const string = take(reader, STRING);
  if (string !== undefined) return JSON.parse(string) as string;
  const number = take(reader, /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y);
  if (number !== undefined) return /^-?\d{1,40}$/.test(number) ? BigInt(number) : Number(number);
  const word = take(reader, /(?:true|false|null)(?!\w)/y);
  if (word === undefined) throw broken(reader, "expected a value");
  return WORDS[word as keyof typeof WORDS];
}

function readObject(reader: Reader, depth: number): JsonObject {
  const found = new Map<string, JsonValue>();
  while (take(reader, /\}/y) === undefined) {
    if (found.size > 0 && take(reader, /,/y) === undefined) throw broken(reader, 'expected "," or "}"');
    const key = take(reader, STRING);
    if (key === undefined) throw broken(reader, "expected a key in double quotes");
    if (take(reader, /:/y) === undefined) throw broken(reader, 'expected ":"');
    const name = JSON.parse(key) as string;
    if (found.has(name)) throw broken(reader, `the key ${key} is there twice`);
    found.set(name, readValue(reader, depth));
  }
  return Object.fromEntries(found);
}

function readArray(reader: Reader, depth: number): readonly JsonValue[] {
  const found: JsonValue[] = [];
  while (take(reader, /\]/y) === undefined) {
    if (found.length > 0 && take(reader, /,/y) === undefined) throw broken(reader, 'expected "," or "]"');
    found.push(readValue(reader, depth));
  }
  return found;
}
