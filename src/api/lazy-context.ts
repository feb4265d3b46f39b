import { join } from "node:path";
import type { BuildContext, IgnoreFile, IgnoreFilePlaces } from "../context/index.js";
import { expandGlob, openContext, readAsGitignore } from "../context/index.js";
import type { EventListener } from "../events.js";
import { textOf } from "../fs/index.js";
import { readXattrs } from "../runtime/index.js";
import { ignoreFileIn } from "./context.js";
import type { Workshop } from "./workshop.js";

/** A build's context, read only if a step wants it. */
export interface LazyContext {
  readonly get: () => BuildContext;
  /** Warns of ignore lines that hide less than their author may think. Lists the whole context: for a build that did work. */
  readonly hint: () => Promise<void>;
  /** Saves the stat cache, warns of what was left out, and closes the context. */
  readonly close: () => void;
}

/** A context directory, with its ignore file or without; warnings go to `onEvent`. */
export function lazyContext(
  workshop: Workshop,
  places: IgnoreFilePlaces,
  onEvent: EventListener | undefined,
  { useIgnoreFile = true }: { readonly useIgnoreFile?: boolean } = {},
): LazyContext {
  let context: BuildContext | undefined;
  let ignore: IgnoreFile | undefined;
  const open = (): BuildContext => {
    if (useIgnoreFile) ignore = ignoreFileIn(places, onEvent);
    return openContext({
      dir: places.contextDir,
      ignore: ignore?.lines ?? [],
      statCacheDir: join(workshop.root, "cache/stat"),
      xattrs: readXattrs,
      now: Date.now,
    });
  };
  return {
    get: () => (context ??= open()),
    hint: async () => {
      if (!context || !ignore || !onEvent) return;
      for (const message of await ignoreHints(context, ignore))
        onEvent({ type: "warning", code: "ignore-pattern", message });
    },
    close: () => {
      if (!context) return;
      for (const path of context.sockets ?? []) {
        const message = `socket "${textOf(path)}" is left out: an image cannot hold sockets`;
        onEvent?.({ type: "warning", code: "socket", message });
      }
      context.saveStatCache();
      context[Symbol.dispose]();
    },
  };
}

/** Patterns without a slash stay in the root here, while git would take them at any depth: the commonest mistake. */
async function ignoreHints(context: BuildContext, ignore: IgnoreFile): Promise<readonly string[]> {
  const patterns = ignore.lines.map(({ pattern }) => pattern);
  const plain = patterns.filter((pattern) => !/[/!]/.test(pattern));
  if (plain.length === 0) return [];
  const differences = await readAsGitignore(patterns, await expandGlob(context, "**"));
  return differences
    .filter(({ pattern }) => plain.includes(pattern))
    .map(
      ({ pattern, path }) =>
        `${ignore.name}: "${pattern}" does not hide ${textOf(path)}, as it would in a .gitignore; "**/${pattern}" would`,
    );
}
