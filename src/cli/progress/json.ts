import type { CooperEvent } from "../../events.js";
import { terminalJson } from "../text.js";
import type { Write } from "./line-writer.js";
import type { Progress } from "./plain.js";

/** One event as one line of JSON. The bytes of an `output` event are in `data`, base64, so that none is lost. */
export function jsonLine(event: CooperEvent): string {
  if (event.type !== "output") return terminalJson(event);
  const { chunk, ...rest } = event;
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  return terminalJson({ ...rest, data: bytes.toString("base64") });
}

/** Every event as it comes, one JSON object a line. */
export function jsonProgress(write: Write): Progress {
  return { onEvent: (event) => write(`${jsonLine(event)}\n`), finish: () => {} };
}
