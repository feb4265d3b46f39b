import { resolve } from "node:path";
import type { ContainerfileLocation } from "../builder/index.js";
import { readContainerfile } from "../builder/index.js";
import type { BuildContext, IgnoreFile, IgnoreFilePlaces } from "../context/index.js";
import { findIgnoreFile, openContext } from "../context/index.js";
import type { ContextEntry, ContextListing, ContextOptions, PathExplanation } from "../cooper.js";
import { hasCode } from "../errors.js";
import type { EventListener } from "../events.js";
import { cleanPath, ROOT, textOf, walkTree } from "../fs/index.js";
import type { WithTexts } from "./given-texts.js";

/** Where the options say that the Containerfile is. */
export function containerfileLocation(options: WithTexts<ContextOptions>): ContainerfileLocation {
  return {
    contextDir: resolve(options.contextDir ?? "."),
    files: filesOf(options),
    ...(options.containerfile === undefined ? {} : { text: options.containerfile }),
    ...(options.fetchedFiles === undefined ? {} : { fetched: options.fetchedFiles }),
  };
}

/** The Containerfiles that the options name, in order; none: the default one of the context. */
export function filesOf({ file = [] }: Pick<ContextOptions, "file">): readonly string[] {
  return typeof file === "string" ? [file] : file;
}

/** True for a Containerfile that must be fetched: it has no ignore file of its own. */
export function isUrl(file: string): boolean {
  return /^https?:\/\//i.test(file);
}

/** Where to look for an ignore file. `containerfile`: absolute path of the Containerfile, when it is in a file. */
export function ignorePlaces(options: ContextOptions, containerfile: string | undefined): IgnoreFilePlaces {
  return {
    contextDir: resolve(options.contextDir ?? "."),
    ...(containerfile === undefined ? {} : { containerfile }),
    ...(options.ignoreFile === undefined ? {} : { ignoreFile: resolve(options.ignoreFile) }),
  };
}

/** The ignore file in force. Whoever has several may think that all count, and is warned. */
export function ignoreFileIn(
  places: IgnoreFilePlaces,
  onEvent: EventListener | undefined,
): IgnoreFile | undefined {
  const found = findIgnoreFile(places);
  if (!found || found.passedOver.length === 0) return found;
  const verb = found.passedOver.length === 1 ? "is" : "are";
  const message = `${found.name} is the ignore file of this build; ${found.passedOver.join(", ")} ${verb} not read`;
  onEvent?.({ type: "warning", code: "ignore-file", message });
  return found;
}

/**
 * Everything that a build with these options would see of its context. Needs no store and writes nothing. Throws
 * `context`, and `not-found` for a Containerfile or an ignore file that is named and not there.
 */
export async function listContext(options: ContextOptions): Promise<ContextListing> {
  const ignore = ignoreFileIn(ignorePlaces(options, containerfilePath(options)), options.onEvent);
  using context = openFor(options, ignore);
  const entries: ContextEntry[] = [];
  for (const { path, type, mode, size, target } of walkTree(context, ROOT)) {
    if (path === ROOT) continue;
    const link = target === undefined ? {} : { target: textOf(target) };
    entries.push({ path: textOf(path), type, mode, size, ...link });
  }
  return Promise.resolve({ entries: entries.toSorted(byLine), ...ignoreFileName(ignore) });
}

/**
 * What a build with these options would see of paths of its context (relative to it), and which line of the ignore file
 * decided; in their order. Symbolic links are not followed. Throws as `listContext`.
 */
export async function explainPaths(
  paths: readonly string[],
  options: ContextOptions,
): Promise<readonly PathExplanation[]> {
  const ignore = ignoreFileIn(ignorePlaces(options, containerfilePath(options)), options.onEvent);
  using context = openFor(options, ignore);
  const explained = paths.map((path) => {
    const { outcome, line, matched } = context.explain(path);
    return {
      path: textOf(cleanPath(path)),
      outcome,
      ...ignoreFileName(ignore),
      ...(line === undefined ? {} : { line: { where: line.where, text: line.text } }),
      ...(matched === undefined ? {} : { parent: textOf(matched) }),
    };
  });
  return Promise.resolve(explained);
}

/** Without extended attributes and digests, which nobody asks for here. */
function openFor(options: ContextOptions, ignore: IgnoreFile | undefined): BuildContext {
  return openContext({
    dir: resolve(options.contextDir ?? "."),
    ignore: ignore?.lines ?? [],
    xattrs: () => new Map(),
    now: Date.now,
  });
}

function ignoreFileName(ignore: IgnoreFile | undefined): { readonly ignoreFile?: string } {
  return ignore === undefined ? {} : { ignoreFile: ignore.name };
}

/** A context can be looked at before it has a Containerfile, but one that is named must be there. */
function containerfilePath(options: ContextOptions): string | undefined {
  const files = filesOf(options).filter((file) => file !== "-" && !isUrl(file));
  if (files.length === 0 && options.file !== undefined) return undefined;
  try {
    return readContainerfile(containerfileLocation({ ...options, file: files })).path;
  } catch (error) {
    if (options.file === undefined && hasCode(error, "not-found")) return undefined;
    throw error;
  }
}

/** The order of `LC_ALL=C sort` over paths with a slash behind directories. */
function byLine(one: ContextEntry, other: ContextEntry): number {
  const [a, b] = [one, other].map(({ path, type }) => Buffer.from(type === "dir" ? `${path}/` : path));
  return a && b ? Buffer.compare(a, b) : 0;
}
