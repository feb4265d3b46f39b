import { CooperError } from "../errors.js";
import { cleanGoPath, patternText, trimSpace } from "./go-path.js";
import type { IgnoreLine } from "./types.js";

/** Go's `bufio.Scanner`, with which moby reads the file, refuses longer lines. */
const MAX_LINE_BYTES = 64 * 1024;
const BOM = "\u00ef\u00bb\u00bf";

/**
 * Lines of an ignore file as moby reads them: a `#` in the first column makes a comment, white space around a line and
 * after its `!` goes, paths are cleaned, one leading "/" is dropped. `name` is what messages call the file. Throws
 * `context` for a line over 64 KiB. Source: moby/patternmatcher/ignorefile, `ReadAll`.
 */
export function parseIgnoreFile(bytes: Uint8Array, name: string): readonly IgnoreLine[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const lines = (text.startsWith(BOM) ? text.slice(BOM.length) : text).split("\n");
  const found: IgnoreLine[] = [];
  for (const [i, line] of lines.entries()) {
    const where = `${name}:${i + 1}`;
    if (line.length >= MAX_LINE_BYTES)
      throw new CooperError("context", `${where}: the line is longer than 64 KiB`);
    if (line.startsWith("#")) continue;
    const written = trimSpace(patternText(line));
    if (written === "") continue;
    found.push({ pattern: cleaned(written), where, text: written });
  }
  return found;
}

/**
 * The patterns of an ignore file, for `IgnoreMatcher`: its lines without comments and blank ones, each cleaned as
 * BuildKit cleans it. Text, or the file's bytes. Throws `context` for a line over 64 KiB.
 */
export function readIgnoreFile(text: string | Uint8Array): readonly string[] {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  return parseIgnoreFile(bytes, "the ignore file").map(({ pattern }) => pattern);
}

function cleaned(line: string): string {
  return line.startsWith("!") ? `!${relative(trimSpace(line.slice(1)))}` : relative(line);
}

function relative(pattern: string): string {
  if (pattern === "") return "";
  const path = cleanGoPath(pattern);
  return path.length > 1 && path.startsWith("/") ? path.slice(1) : path;
}
