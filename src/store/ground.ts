import type { Session } from "./session.js";
import type { StorePaths } from "./paths.js";

/** What every part of an open store works with. */
export interface StoreGround {
  readonly paths: StorePaths;
  readonly session: Session;
  readonly now: () => number;
  /** Called by whoever begins to write: lets the garbage of dead processes be removed, in the background, now and then. */
  readonly tidy: () => void;
}
