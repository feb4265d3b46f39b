export type Write = (chunk: string | Uint8Array) => void;

/** Puts lines of ours and raw bytes of others into one stream without a line of ours ever starting in the middle. */
export interface LineWriter {
  /** One line, its end added. */
  line(text: string): void;
  /** Bytes as they are. */
  raw(chunk: Uint8Array): void;
  /** Bytes that begin a line and end one. */
  rawLines(chunk: Uint8Array): void;
  readonly atLineStart: boolean;
}

const NEWLINE = 10;

export function lineWriter(write: Write): LineWriter {
  let atLineStart = true;
  const startLine = (): void => {
    if (!atLineStart) write("\n");
    atLineStart = true;
  };
  const raw = (chunk: Uint8Array): void => {
    if (chunk.length === 0) return;
    write(chunk);
    atLineStart = chunk[chunk.length - 1] === NEWLINE;
  };
  return {
    line: (text) => {
      startLine();
      write(`${text}\n`);
    },
    raw,
    rawLines: (chunk) => {
      if (chunk.length > 0) startLine();
      raw(chunk);
    },
    get atLineStart() {
      return atLineStart;
    },
  };
}

/** A line that is longer is broken when it has to be held back, so that no output can fill the memory. */
const LONGEST_PARTIAL = 16 * 1024;

/**
 * Cuts bytes into lines with `prefix` before each. `partial` is the begin of a line from before; what is returned as
 * `partial` waits for its end.
 */
export function prefixLines(
  prefix: string,
  partial: Uint8Array,
  chunk: Uint8Array,
): { readonly lines: Uint8Array; readonly partial: Uint8Array } {
  const head = Buffer.from(prefix);
  const parts: Uint8Array[] = [];
  let held = partial;
  let start = 0;
  for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
    parts.push(head, held, chunk.subarray(start, end + 1));
    held = new Uint8Array(0);
    start = end + 1;
  }
  // A copy: the chunk is the caller's, and would be kept alive whole.
  const rest = Buffer.concat([held, chunk.subarray(start)]);
  if (rest.length <= LONGEST_PARTIAL) return { lines: Buffer.concat(parts), partial: rest };
  return { lines: Buffer.concat([...parts, head, rest, Buffer.from("\n")]), partial: new Uint8Array(0) };
}
