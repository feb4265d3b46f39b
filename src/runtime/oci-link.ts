import { readSync } from "node:fs";
import { send } from "./control.js";
import type { HelperMessage } from "./helper-plan.js";
import type { Link, Outcome } from "./oci-run.js";
import { close, makePipe, syscall } from "./syscalls.js";

/** The helper's side of what it and its copy say to each other while a runtime has the process. */
export interface RuntimeLink {
  /** In the copy, once: its ends. */
  inCopy(): Link;
  /** In the helper, once: leaves the copy its ends. */
  inHelper(): void;
  /** What to poll: the copy says something, or has ended. */
  readable(): readonly number[];
  /** Reads what the copy said; a terminal of it is handed to the driver. */
  read(copyPidFd: number): void;
  /** The driver has taken the terminal. */
  go(): void;
  /** What became of the process, when the copy has ended; undefined: it did not say. */
  result(): HelperMessage | undefined;
  close(): void;
}

export function openLink(): RuntimeLink {
  const [outcome, go] = [makePipe(), makePipe()];
  let text = "";
  let seen = 0;
  let ended = false;
  let waiting = true;
  let terminal: number | undefined;
  const outcomes = (): readonly Outcome[] =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Outcome);
  return {
    inCopy: () => {
      close(outcome.readEnd);
      close(go.writeEnd);
      return { outcome: outcome.writeEnd, go: go.readEnd };
    },
    inHelper: () => {
      close(outcome.writeEnd);
      close(go.readEnd);
    },
    readable: () => (ended ? [] : [outcome.readEnd]),
    read: (copyPidFd) => {
      const chunk = Buffer.alloc(4096);
      const count = readSync(outcome.readEnd, chunk);
      if (count === 0) ended = true;
      text += chunk.toString("utf8", 0, count);
      for (const each of outcomes().slice(seen)) {
        seen += 1;
        if (!("terminal" in each)) continue;
        terminal = syscall("pidfd_getfd", undefined, copyPidFd, each.terminal, 0);
        send({ type: "terminal", fd: terminal });
      }
    },
    go: () => {
      if (!waiting) return;
      waiting = false;
      // Only the driver may hold the master, or its end would never be seen.
      if (terminal !== undefined) close(terminal);
      // The copy waits for the end of this pipe.
      close(go.writeEnd);
    },
    result: () => {
      const last = outcomes().at(-1);
      if (last !== undefined && "status" in last) return { type: "exit", status: last.status };
      if (last !== undefined && "refusal" in last) return { type: "refused", refusal: last.refusal };
      return undefined;
    },
    close: () => {
      if (waiting) close(go.writeEnd);
      close(outcome.readEnd);
    },
  };
}
