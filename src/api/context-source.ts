import { createWriteStream, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DEFAULT_NAMES, MAX_CONTAINERFILE } from "../builder/index.js";
import type { BuildOptions } from "../cooper.js";
import { CooperError, ioError, printable } from "../errors.js";
import type { EventListener } from "../events.js";
import type { GitSource } from "../fetch/index.js";
import { insideTree, isRemoteUrl, parseGitSource } from "../fetch/index.js";
import { cleanPath, resolvePath } from "../fs/index.js";
import { shownUrl } from "../net/index.js";
import { sourceText } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { joinSources } from "../source.js";
import { openArchive, unpackContext } from "./archive-tree.js";
import { filesOf } from "./context.js";
import type { WithTexts } from "./given-texts.js";
import { lazyContext } from "./lazy-context.js";
import type { Workshop } from "./workshop.js";

export interface ContextSourceOptions {
  /** Keep `.git` of a repository, unless its URL says otherwise. Default false. */
  readonly keepGitDir?: boolean;
  readonly signal?: AbortSignal;
  readonly onEvent?: EventListener;
}

/** A context that came from elsewhere, as a directory that nobody else can reach; disposing removes it. */
export interface ContextSource extends AsyncDisposable {
  readonly dir: string;
  /** What was fetched, when it is no archive: a Containerfile, for which `dir` is empty. */
  readonly containerfile?: SourceText;
}

/**
 * Turns a git repository, or an archive or Containerfile (a URL, a path, a stream, "-" for stdin) into a directory. No ignore
 * file holds there, as in BuildKit. Throws `usage`, `not-found`, `network`, `auth`, `denied`, `corrupt`, `io`, `no-space`.
 */
export async function openContextSource(
  workshop: Workshop,
  source: string | Readable,
  options: ContextSourceOptions,
): Promise<ContextSource> {
  const staged = workshop.store.layers.stage();
  try {
    const found = await materialize(workshop, source, staged.path, options);
    return { ...found, [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose]() };
  } catch (error) {
    await staged[Symbol.asyncDispose]();
    throw error;
  }
}

type Materialized = Pick<ContextSource, "dir" | "containerfile">;

async function materialize(
  workshop: Workshop,
  source: string | Readable,
  stage: string,
  options: ContextSourceOptions,
): Promise<Materialized> {
  if (typeof source !== "string" || source === "-") {
    const path = join(stage, "stdin");
    await spool(typeof source === "string" ? process.stdin : source, path, options.signal);
    return fromFile(workshop, path, "stdin", stage, options);
  }
  const git = parseGitSource(source);
  if (git) return fromGit(workshop, git, stage, options);
  if (!isRemoteUrl(source)) {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(source))
      throw new CooperError("usage", `${source} cannot be fetched: only http, https, git and ssh URLs can`);
    return fromFile(workshop, resolve(source), source, stage, options);
  }
  const fetcher = await workshop.fetcher();
  const { path } = await fetcher.download(source, {
    ...(options.signal ? { signal: options.signal } : {}),
    notice: (message) => options.onEvent?.({ type: "notice", message }),
  });
  return fromFile(workshop, path, shownUrl(new URL(source)), stage, options);
}

/** A stream as a file, which can be handed to another process; disposing removes it. Throws `io`, `no-space`. */
export async function spoolContext(
  workshop: Workshop,
  from: Readable,
  signal: AbortSignal | undefined,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const staged = workshop.store.layers.stage();
  try {
    const path = join(staged.path, "stream");
    await spool(from, path, signal);
    return { path, [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose]() };
  } catch (error) {
    await staged[Symbol.asyncDispose]();
    throw error;
  }
}

async function spool(from: Readable, path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await pipeline(from, createWriteStream(path, { flags: "wx", mode: 0o600 }), signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw ioError("read", "the build context", error);
  }
}

/** An archive's content, or nothing but a Containerfile. */
async function fromFile(
  workshop: Workshop,
  path: string,
  name: string,
  stage: string,
  { signal }: ContextSourceOptions,
): Promise<Materialized> {
  const dir = join(stage, "context");
  const file = openArchive(path);
  try {
    if ((await workshop.snapshotter()).isArchive(file)) {
      await unpackContext(workshop, file, { name, dest: dir, ...(signal ? { signal } : {}) });
      return { dir };
    }
    if (file.size > MAX_CONTAINERFILE)
      throw new CooperError(
        "context",
        `${name} is neither an archive nor a Containerfile: it is larger than 64 MiB`,
      );
    mkdirSync(dir, { mode: 0o755 });
    return { dir, containerfile: sourceText(name, readFileSync(file.fd)) };
  } finally {
    file.close();
  }
}

async function fromGit(
  workshop: Workshop,
  source: GitSource,
  stage: string,
  options: ContextSourceOptions,
): Promise<Materialized> {
  const dest = join(stage, "tree");
  mkdirSync(dest, { mode: 0o700 });
  const how = options.signal ? { signal: options.signal } : {};
  const fetcher = await workshop.fetcher();
  const commit = await fetcher.resolve(source, how);
  options.onEvent?.({ type: "notice", message: printable(`context: commit ${commit} of ${source.url}`) });
  const keepGitDir = source.keepGitDir ?? options.keepGitDir ?? false;
  await fetcher.checkout(source, commit, { ...how, dest, keepGitDir });
  return { dir: insideTree(dest, source.subdir ?? "", source.url) };
}

/** A build whose context came from elsewhere: its options with a directory instead, and its Containerfile. */
export interface BuildSource extends AsyncDisposable {
  readonly options: BuildOptions;
  readonly source: SourceText;
}

/** Fetches the context of a build and finds its Containerfile in it. Throws as `openContextSource`, and `not-found`. */
export async function openBuildSource(
  workshop: Workshop,
  options: WithTexts<BuildOptions>,
): Promise<BuildSource> {
  const { context, buildArgs, signal, onEvent } = options;
  if (context === undefined) throw new Error("a build with a context directory");
  const keep = buildArgs?.["BUILDKIT_CONTEXT_KEEP_GIT_DIR"];
  const source = await openContextSource(workshop, context, {
    keepGitDir: keep === "1" || keep === "true",
    ...(signal ? { signal } : {}),
    ...(onEvent ? { onEvent } : {}),
  });
  try {
    return {
      options: { ...options, contextDir: source.dir },
      source: containerfileOf(workshop, source, options),
      [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    };
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

function containerfileOf(
  workshop: Workshop,
  source: ContextSource,
  options: WithTexts<BuildOptions>,
): SourceText {
  const { containerfile } = options;
  const files = filesOf(options);
  if (source.containerfile) {
    if (files.length === 0 && containerfile === undefined) return source.containerfile;
    throw new CooperError(
      "usage",
      `two Containerfiles: ${source.containerfile.name} is one itself and no archive, and --file names another`,
    );
  }
  if (containerfile !== undefined && !files.includes("-"))
    return { name: files.join(" + ") || "Containerfile", text: containerfile };
  if (files.length === 0) return defaultInside(workshop, source.dir);
  return joinSources(
    files.map((file) => {
      if (file === "-") return { name: "stdin", text: containerfile ?? "" };
      const found = options.fetchedFiles?.[file] ?? readInside(workshop, source.dir, file);
      if (found) return found;
      throw new CooperError("not-found", `there is no Containerfile ${file} in the build context`);
    }),
  );
}

function defaultInside(workshop: Workshop, dir: string): SourceText {
  for (const name of DEFAULT_NAMES) {
    const found = readInside(workshop, dir, name);
    if (found) return found;
  }
  const message = "there is neither a Containerfile nor a Dockerfile in the build context";
  throw new CooperError("not-found", message, {
    hint: "name the file with -f; it is looked for inside the context",
  });
}

/** A file of the context; links are followed inside it, where its root is "/". Undefined when there is none. */
function readInside(workshop: Workshop, dir: string, name: string): SourceText | undefined {
  const context = lazyContext(workshop, { contextDir: dir }, undefined, { useIgnoreFile: false });
  try {
    const tree = context.get();
    const entry = tree.lstat(resolvePath(tree, cleanPath(name), { followLast: true }));
    if (!entry) return undefined;
    if (entry.type !== "file" || entry.size > MAX_CONTAINERFILE)
      throw new CooperError(
        "context",
        `${name} in the build context is ${entry.type === "file" ? "larger than 64 MiB" : "no regular file"}`,
      );
    const file = tree.open(entry);
    try {
      return sourceText(name, readFileSync(file.fd));
    } finally {
      file.close();
    }
  } finally {
    context.close();
  }
}
