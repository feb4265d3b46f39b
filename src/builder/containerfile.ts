import { existsSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join, relative, resolve } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { atomicWrite, makeDirectories } from "../fs/index.js";
import { digestOf, hexOf } from "../image/index.js";
import type { Finding } from "../lint/index.js";
import { findInText, LINT_VERSION } from "../lint/index.js";
import type { Containerfile } from "../parser/index.js";
import { parse, PARSER_VERSION, sourceText } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { joinSources } from "../source.js";

/** A Containerfile beyond this is refused before it is parsed, bytes. */
export const MAX_CONTAINERFILE = 64 * 1024 * 1024;

/** Where a build's Containerfile comes from. */
export interface ContainerfileLocation {
  readonly contextDir: string;
  /** `-f`: paths, relative to the current directory, else to the context; several are joined in this order. */
  readonly files?: readonly string[];
  /** The text itself, when it is in no file; among `files` it is that of "-". */
  readonly text?: string;
  /** What the URLs among `files` hold. */
  readonly fetched?: Readonly<Record<string, SourceText>>;
}

/** A Containerfile's text, and the absolute path of its (first) file when it is in one. */
export interface ContainerfileText extends SourceText {
  readonly path?: string;
}

/** What is looked for in the context, in this order. Source: podman, then BuildKit. */
export const DEFAULT_NAMES = ["Containerfile", "Dockerfile", "dockerfile"];

/** Reads the Containerfile: the given ones, else the first default name of the context. Throws `not-found`, `unsupported`, `io`. */
export function readContainerfile(location: ContainerfileLocation): ContainerfileText {
  const { contextDir, files, text, fetched = {} } = location;
  if (files === undefined || files.length === 0) {
    return text === undefined ? readDefault(contextDir) : { name: "Containerfile", text };
  }
  if (text !== undefined && !files.includes("-")) return { name: files.join(" + "), text };
  const texts = files.map((file): ContainerfileText =>
    file === "-" ? { name: "stdin", text: text ?? "" } : (fetched[file] ?? readGiven(contextDir, file)),
  );
  const path = texts.find((one) => one.path !== undefined)?.path;
  return { ...joinSources(texts), ...(path === undefined ? {} : { path }) };
}

function readGiven(contextDir: string, file: string): ContainerfileText {
  if (file.endsWith(".in")) refuseTemplate(file);
  for (const path of isAbsolute(file) ? [file] : [resolve(file), join(contextDir, file)]) {
    const found = readIfThere(path);
    if (found !== undefined) return { ...sourceText(displayName(path), found), path };
  }
  throw new CooperError("not-found", `there is no Containerfile ${file}`);
}

/** Source: buildah-build(1): a file whose name ends in `.in` goes through cpp. */
function refuseTemplate(file: string): never {
  throw new CooperError("unsupported", `${file} is a template for cpp, which cooper does not run`, {
    hint: `run it yourself: cpp -E -P ${file} | cooper build -f - CONTEXT`,
  });
}

function readDefault(contextDir: string): ContainerfileText {
  for (const name of DEFAULT_NAMES) {
    const path = join(contextDir, name);
    const found = readIfThere(path);
    if (found !== undefined) return { ...sourceText(displayName(path), found), path };
  }
  const context = statSync(contextDir, { throwIfNoEntry: false });
  if (!context) throw new CooperError("not-found", `the build context ${contextDir} does not exist`);
  if (!context.isDirectory())
    throw new CooperError("context", `the build context ${contextDir} is not a directory`, {
      hint: "name a Containerfile with -f, and give a directory as the context; - reads an archive from stdin",
    });
  const template = DEFAULT_NAMES.map((name) => join(contextDir, `${name}.in`)).find((path) =>
    existsSync(path),
  );
  if (template !== undefined) refuseTemplate(displayName(template));
  throw new CooperError("not-found", `there is neither a Containerfile nor a Dockerfile in ${contextDir}`, {
    hint: "name the file with -f, or give the directory that holds it as the context",
  });
}

function readIfThere(path: string): Buffer | undefined {
  try {
    const { size } = statSync(path);
    if (size > MAX_CONTAINERFILE) throw new CooperError("syntax", `${path} is larger than 64 MiB`);
    return readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw ioError("read", path, error);
  }
}

function displayName(path: string): string {
  const shown = relative(process.cwd(), path);
  return shown.startsWith("..") ? path : shown;
}

/** What is known of a Containerfile from its text alone. */
export interface ParsedContainerfile {
  readonly file: Containerfile;
  /** What lint finds in the text, without fixes: a build makes none. */
  readonly findings: readonly Finding[];
}

/**
 * The AST of a Containerfile and the findings about it. They are remembered by the digest of the text and the versions of
 * parser and lint, because loading the grammar costs more than a fully cached build; nobody else may read them, for URLs
 * in them may hold passwords.
 */
export async function parseCached(source: SourceText, cacheDir: string): Promise<ParsedContainerfile> {
  const joints = (source.parts ?? []).map(({ start }) => start).join();
  const key = `${PARSER_VERSION}.${LINT_VERSION}\0${joints}\0${source.text}`;
  const path = join(cacheDir, `${hexOf(digestOf(key))}.json`);
  const known = readParsed(path);
  if (known) return known;
  const file = await parse(source);
  const findings = findInText(source, file).map(withoutFix);
  makeDirectories(cacheDir, 0o700);
  atomicWrite(path, JSON.stringify({ file, findings }), { mode: 0o600 });
  return { file, findings };
}

function withoutFix({ rule, message, span, hint }: Finding): Finding {
  return { rule, message, span, ...(hint === undefined ? {} : { hint }) };
}

function readParsed(path: string): ParsedContainerfile | undefined {
  try {
    const known = JSON.parse(readFileSync(path, "utf8")) as ParsedContainerfile;
    return Array.isArray(known.file.instructions) && Array.isArray(known.findings) ? known : undefined;
  } catch {
    return undefined;
  }
}
