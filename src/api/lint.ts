import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { readContainerfile } from "../builder/index.js";
import type { LintOptions, LintResult } from "../cooper.js";
import { CooperError, ioError } from "../errors.js";
import { atomicWrite } from "../fs/index.js";
import { hostPlatform } from "../image/index.js";
import type { BaseFacts, LintFacts } from "../lint/index.js";
import { applyFixes } from "../lint/index.js";
import type { Diagnostic, SourceText } from "../source.js";
import { baseFacts } from "./build-warnings.js";
import { containerfileLocation, filesOf, isUrl } from "./context.js";
import { checkSource } from "./check.js";
import { withTexts } from "./given-texts.js";
import { ignoredPaths } from "./ignored.js";
import type { Workshop } from "./workshop.js";

/** A fix can make room for another; a file that is not done after this many rounds is left as it is then. */
const MOST_ROUNDS = 10;

/**
 * Checks a Containerfile, and mends what can be mended. Of base images it knows those that are stored; nothing is pulled.
 * Throws `not-found`, `io`, and `usage` for a fix of what is in no file.
 */
export async function lintFile(workshop: Workshop, options: LintOptions): Promise<LintResult> {
  const isInFile = filesOf(options).every((file) => file !== "-" && !isUrl(file));
  if (options.fix && (!isInFile || options.containerfile !== undefined)) {
    throw new CooperError("usage", "there is no file to write the fixes to");
  }
  const contextDir = resolve(options.contextDir ?? ".");
  const source = readContainerfile(
    containerfileLocation(await withTexts(workshop, { ...options, contextDir })),
  );
  const facts = factsOf(workshop, options, contextDir);
  const diagnostics = await checkSource(source, facts);
  if (!options.fix) return { source, diagnostics, fixed: [] };
  const result = await fixed(source, diagnostics, facts);
  if (result.source.text !== source.text) replaceFile(resolve(source.name), result.source.text);
  return result;
}

async function fixed(
  source: SourceText,
  diagnostics: readonly Diagnostic[],
  facts: LintFacts,
): Promise<LintResult> {
  const done: Diagnostic[] = [];
  let [now, left] = [source, diagnostics];
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const next = applyFixes(now.text, left);
    if (next.fixed.length === 0) break;
    done.push(...next.fixed);
    now = { ...source, text: next.text };
    left = await checkSource(now, facts);
  }
  return { source: now, diagnostics: left, fixed: done };
}

function factsOf(workshop: Workshop, options: LintOptions, contextDir: string): LintFacts {
  const given = Object.entries(options.buildArgs ?? {}).map(
    ([name, value]) => [name, value ?? process.env[name]] as const,
  );
  return {
    buildArgs: new Map(given.filter((pair): pair is readonly [string, string] => pair[1] !== undefined)),
    platform: hostPlatform(),
    base: (name) => storedBase(workshop, name),
    ...(options.contextDir === undefined ? {} : { ignores: ignoredPaths({ contextDir }) }),
  };
}

/** Whatever keeps an image from being read, lint then does not know it. */
function storedBase(workshop: Workshop, name: string): BaseFacts | undefined {
  try {
    return baseFacts(workshop.store.resolve(name));
  } catch (error) {
    if (error instanceof CooperError) return undefined;
    throw error;
  }
}

/** Keeps the file's permissions, and a symbolic link to it. */
function replaceFile(path: string, text: string): void {
  let target: string;
  let mode: number;
  try {
    target = realpathSync(path);
    mode = statSync(target).mode & 0o7777;
  } catch (error) {
    throw ioError("write", path, error);
  }
  atomicWrite(target, text, { mode, durable: true });
}
