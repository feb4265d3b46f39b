import { CooperError } from "../errors.js";
import type { SourceText } from "../source.js";
import { lineTable } from "./line-table.js";

/**
 * The text of a Containerfile's bytes. Throws `syntax`, with the place, when they are no UTF-8: a replacement character
 * would change what the file says. A byte order mark stays in the text, so that offsets are those of the file.
 */
export function sourceText(name: string, bytes: Uint8Array): SourceText {
  const decode = (part: Uint8Array, fatal: boolean): string =>
    new TextDecoder("utf-8", { fatal, ignoreBOM: true }).decode(part);
  try {
    return { name, text: decode(bytes, true) };
  } catch (cause) {
    const source: SourceText = { name, text: decode(bytes, false) };
    const at = badCharacter(source.text, bytes);
    const span = lineTable(source.text).span(at, at + 1);
    const where = `${name}:${span.line}:${span.column}`;
    throw new CooperError("syntax", `${where}: this is not UTF-8`, { source, span, cause });
  }
}

/** The offset of the first replacement character that the bytes do not spell out. */
function badCharacter(text: string, bytes: Uint8Array): number {
  let at = text.indexOf("\ufffd");
  let byte = Buffer.byteLength(text.slice(0, at));
  while (at >= 0 && bytes[byte] === 0xef && bytes[byte + 1] === 0xbf && bytes[byte + 2] === 0xbd) {
    const next = text.indexOf("\ufffd", at + 1);
    byte += Buffer.byteLength(text.slice(at, next));
    at = next;
  }
  return Math.max(at, 0);
}
