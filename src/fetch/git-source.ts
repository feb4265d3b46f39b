import { CooperError, withoutQuery } from "../errors.js";
import { cleanPath, textOf } from "../fs/index.js";
import type { GitSource } from "./types.js";

/** `user@host:path`, as ssh and git take it. */
const SCP_FORM = /^([A-Za-z0-9_][\w-]*@[A-Za-z0-9][A-Za-z0-9.-]*):([^#?]+)(\?[^#]*)?(?:#(.*))?$/;
const GIT_SCHEME = /^(?:git|ssh):\/\//;
const REMOTE_SCHEME = /^(?:https?|git|ssh):\/\//;

/** True for what is fetched and not read from a disk: http, https, git and ssh URLs (scheme in lower case), and `user@host:path`. */
export function isRemoteUrl(text: string): boolean {
  return REMOTE_SCHEME.test(text) || SCP_FORM.test(text);
}

/**
 * A git repository with `#ref:subdir` or `?ref=…&subdir=…`; undefined for any other text. An http URL is a repository
 * when its path ends in `.git`, exactly. Source: BuildKit, "Git URLs". Throws `usage` for one that is no URL, has a query
 * that nobody knows, or says two things at once, and for a ref that git would take for an option or that no ref can be.
 */
export function parseGitSource(text: string): GitSource | undefined {
  const scp = SCP_FORM.exec(text);
  const shown = withoutQuery(text);
  if (scp) {
    const [, host = "", path = "", query = "", fragment = ""] = scp;
    return sourceOf(`${host}:${path}`, new URLSearchParams(query), fragment, shown);
  }
  if (!REMOTE_SCHEME.test(text)) return undefined;
  const url = parsedUrl(text);
  if (!GIT_SCHEME.test(text) && !url.pathname.endsWith(".git")) return undefined;
  const fragment = decoded(url.hash.slice(1), shown);
  const query = new URLSearchParams(url.search);
  url.hash = "";
  url.search = "";
  return sourceOf(url.href, query, fragment, shown);
}

function parsedUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CooperError("usage", `${withoutQuery(text)} is not a URL`);
  }
  if (url.hostname === "" || url.hostname.startsWith("-"))
    throw new CooperError("usage", `${withoutQuery(text)} names no host`);
  return url;
}

function decoded(text: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new CooperError("usage", `${url}: the part after # is not valid percent-encoding`);
  }
}

const REF_KEYS = ["ref", "branch", "tag"] as const;
const KEYS: readonly string[] = [...REF_KEYS, "subdir", "checksum", "commit", "keep-git-dir", "submodules"];

function sourceOf(url: string, query: URLSearchParams, fragment: string, text: string): GitSource {
  const values = singleValues(query, text);
  const colon = fragment.indexOf(":");
  const named = colon < 0 ? fragment : fragment.slice(0, colon);
  const below = colon < 0 ? "" : fragment.slice(colon + 1);
  const branch = values.get("branch");
  const tag = values.get("tag");
  const ref = oneOf(text, "ref", [
    named,
    values.get("ref"),
    branch === undefined ? undefined : `refs/heads/${branch.replace(/^refs\/heads\//, "")}`,
    tag === undefined ? undefined : `refs/tags/${tag.replace(/^refs\/tags\//, "")}`,
  ]);
  const subdir = textOf(cleanPath(oneOf(text, "subdir", [below, values.get("subdir")]) ?? ""));
  const checksum = oneOf(text, "checksum", [values.get("checksum"), values.get("commit")]);
  if (ref !== undefined) refuseBadRef(ref, text);
  return {
    url,
    ref,
    subdir: subdir === "" ? undefined : subdir,
    checksum: checksum === undefined ? undefined : checkedChecksum(checksum, text),
    keepGitDir: booleanOf(values, "keep-git-dir", text),
    submodules: booleanOf(values, "submodules", text) ?? true,
  };
}

function singleValues(query: URLSearchParams, text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [key, value] of query) {
    if (!KEYS.includes(key))
      throw new CooperError("usage", `${text}: a git URL has no query "${key}"`, {
        hint: `it can have ${KEYS.join(", ")}`,
      });
    if (values.has(key)) throw new CooperError("usage", `${text}: the query "${key}" is given twice`);
    if (value === "" && key !== "keep-git-dir" && key !== "submodules")
      throw new CooperError("usage", `${text}: the query "${key}" has no value`);
    values.set(key, value);
  }
  return values;
}

/** The one value that was given, maybe several times. */
function oneOf(text: string, what: string, given: readonly (string | undefined)[]): string | undefined {
  const values = new Set(given.filter((value) => value !== undefined && value !== ""));
  const [first, second] = values;
  if (second !== undefined)
    throw new CooperError("usage", `${text}: two values of ${what} contradict: "${first}" and "${second}"`);
  return first;
}

// oxlint-disable-next-line no-control-regex -- control characters are what this finds
const BAD_REF = /[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\/\/|\.lock(?:\/|$)|[/.]$|(?:^|\/)\./;

/** What git would take for an option, and what no ref can be. Source: git-check-ref-format(1). */
function refuseBadRef(ref: string, text: string): void {
  if (ref.startsWith("-") || BAD_REF.test(ref))
    throw new CooperError("usage", `${text}: "${ref}" cannot be a git ref`);
}

function checkedChecksum(checksum: string, text: string): string {
  if (/^[0-9a-f]{7,64}$/.test(checksum)) return checksum;
  throw new CooperError(
    "usage",
    `${text}: "${checksum}" is not a commit: 7 to 64 lower-case hex digits are needed`,
  );
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  "": true,
  "1": true,
  true: true,
  "0": false,
  false: false,
};

function booleanOf(values: ReadonlyMap<string, string>, key: string, text: string): boolean | undefined {
  const value = values.get(key);
  if (value === undefined) return undefined;
  const known = BOOLEANS[value];
  if (known === undefined)
    throw new CooperError("usage", `${text}: "${value}" is neither true nor false, for the query "${key}"`);
  return known;
}
