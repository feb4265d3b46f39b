import { parseImageConfig } from "../image/index.js";
import type { DiffId } from "../image/index.js";
import type { Blobs } from "./blobs.js";
import type { ImageRecord } from "./records.js";

/** What an image was made by: its layers and the steps of its history, oldest first. */
export interface Lineage {
  readonly layers: readonly DiffId[];
  /** One text per step; equal texts are the same step. Empty when it cannot be known. */
  readonly history: readonly string[];
}

/** The lineage of an image; when its config cannot be read, its layers alone. */
export function lineageOf(record: ImageRecord, blobs: Blobs): Lineage {
  try {
    const { history } = parseImageConfig(blobs.document(record.config), record.config.digest);
    return { layers: record.layers, history: history.map((step) => JSON.stringify(step)) };
  } catch {
    return { layers: record.layers, history: [] };
  }
}

/**
 * True when an image is one of the steps that another was built by: the other has the same layers and history and then
 * more. Where either history is unknown, more layers decide.
 */
export function isParentOf(parent: Lineage, child: Lineage): boolean {
  if (!isPrefix(parent.layers, child.layers)) return false;
  if (parent.history.length === 0 || child.history.length === 0)
    return parent.layers.length < child.layers.length;
  return parent.history.length < child.history.length && isPrefix(parent.history, child.history);
}

function isPrefix(short: readonly string[], long: readonly string[]): boolean {
  return short.length <= long.length && short.every((one, i) => one === long[i]);
}
