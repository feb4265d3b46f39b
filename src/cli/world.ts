import type { Cooper, OpenOptions } from "../cooper.js";

/** Where text and bytes go. Writing waits until the reader took them; a reader that went away is not an error. */
export interface Sink {
  write(chunk: string | Uint8Array): void;
  readonly isTerminal: boolean;
  /** Width of the terminal; undefined elsewhere. */
  readonly columns: number | undefined;
  /** True once writing has become pointless: the reader went away, or a write failed. */
  readonly closed: boolean;
}

/** Standard input, for prompts and passwords. Nothing is read before it is asked for. */
export interface Source {
  readonly isTerminal: boolean;
  /** One line without its end; undefined at the end of the input. `secret`: a terminal does not show what is typed. */
  readLine(options: { readonly secret: boolean; readonly signal: AbortSignal }): Promise<string | undefined>;
  /** Everything up to the end of the input. */
  readAll(signal: AbortSignal): Promise<string>;
}

/** Everything of the process that commands may touch; tests pass their own. */
export interface World {
  readonly open: (options?: OpenOptions) => Promise<Cooper>;
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly stdin: Source;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Absolute. */
  readonly cwd: string;
  /** ms since 1970. */
  readonly now: () => number;
  /** Fires on SIGINT, SIGTERM and SIGHUP; its reason is a CooperError with the exit code. */
  readonly signal: AbortSignal;
  readonly version: string;
}
