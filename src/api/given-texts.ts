import { readFileSync } from "node:fs";
import { MAX_CONTAINERFILE } from "../builder/index.js";
import type { BuildOptions, ContextOptions } from "../cooper.js";
import { CooperError, ioError } from "../errors.js";
import { sourceText } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { filesOf, isUrl } from "./context.js";
import type { Workshop } from "./workshop.js";

/** Options with the text of every Containerfile that is in no file, so that another process need not read them again. */
export type WithTexts<T> = T & {
  /** By the URL as it was given. */
  readonly fetchedFiles?: Readonly<Record<string, SourceText>>;
};

type Given = WithTexts<Pick<BuildOptions, "context" | "signal" | "onEvent"> & ContextOptions>;

/** Reads the Containerfiles that come from stdin or from URLs. Throws `usage`, `network`, `not-found`, `denied`, `io`. */
export async function withTexts<T extends Given>(workshop: Workshop, options: T): Promise<WithTexts<T>> {
  return withFetched(workshop, await withStdin(options));
}

/** Stdin can be read only once. */
async function withStdin<T extends Given>(options: T): Promise<T> {
  const dashes = filesOf(options).filter((file) => file === "-").length;
  if (dashes === 0 || options.containerfile !== undefined) return options;
  if (options.context === "-")
    throw new CooperError("usage", "stdin cannot be both the Containerfile and the build context");
  if (dashes > 1) throw new CooperError("usage", "stdin can be only one of the Containerfiles");
  const { text } = sourceText("stdin", await readStdin(options.signal));
  return { ...options, containerfile: text };
}

/** Everything up to the end. Throws the signal's reason, `io`. */
async function readStdin(signal: AbortSignal | undefined): Promise<Buffer> {
  const [{ addAbortSignal }, { buffer }] = await Promise.all([
    import("node:stream"),
    import("node:stream/consumers"),
  ]);
  try {
    signal?.throwIfAborted();
    return await buffer(signal ? addAbortSignal(signal, process.stdin) : process.stdin);
  } catch (error) {
    signal?.throwIfAborted();
    throw ioError("read", "stdin", error);
  }
}

async function withFetched<T extends Given>(workshop: Workshop, options: T): Promise<WithTexts<T>> {
  const { signal, onEvent, containerfile } = options;
  const files = filesOf(options);
  const isGiven = containerfile !== undefined && !files.includes("-");
  const urls = isGiven ? [] : files.filter((file) => isUrl(file));
  if (urls.length === 0 || options.fetchedFiles !== undefined) return options;
  const [fetcher, { shownUrl }] = await Promise.all([workshop.fetcher(), import("../net/index.js")]);
  const fetchedFiles: Record<string, SourceText> = {};
  for (const url of urls) {
    const { path } = await fetcher.download(url, {
      maxSize: MAX_CONTAINERFILE,
      ...(signal ? { signal } : {}),
      notice: (message) => onEvent?.({ type: "notice", message }),
    });
    fetchedFiles[url] = sourceText(shownUrl(new URL(url)), readFileSync(path));
  }
  return { ...options, fetchedFiles };
}
