import { closeSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openContext } from "../../context/index.js";
import { CooperError, ioError, withoutUrlSecrets } from "../../errors.js";
import type { Download, GitSource } from "../../fetch/index.js";
import { insideTree, parseGitSource } from "../../fetch/index.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { bytesOf, ROOT } from "../../fs/index.js";
import type { Digest } from "../../image/index.js";
import type { BuildEngine } from "../engine.js";
import { checkUrlChecksum } from "./remote-check.js";
import type { CopyRequest } from "./request.js";
import type { CopySource, Selected, Wanted } from "./select.js";
import { selectSource } from "./select.js";

/** A source of ADD that is fetched, known well enough for a key. */
export interface RemoteSource {
  /** What it holds now: the same for the same content. */
  readonly identity: string;
  /** Brings it here, if it is not. The caller disposes it after the layer was written. */
  readonly open: () => Promise<OpenedRemote>;
}

export interface OpenedRemote extends Disposable {
  readonly source: CopySource;
  readonly selected: readonly Selected[];
  /** True for what a URL gave, false for a repository. */
  readonly isBody: boolean;
}

/** A body is the root's alone, unless `--chmod` says otherwise. Source: BuildKit. */
const BODY_MODE = 0o600;

/**
 * Finds out what a URL or git repository holds now. A body is fetched for that, unless `--checksum` says what it must be;
 * of a repository only the commit is asked for. Throws what a Fetcher throws, and `usage` for what the source or its
 * flags say wrongly.
 */
export async function findRemote(
  request: CopyRequest,
  wanted: Wanted,
  engine: BuildEngine,
): Promise<RemoteSource> {
  const git = parseGitSource(wanted.text);
  return git ? findRepository(git, request, wanted, engine) : findBody(request, wanted, engine);
}

async function findBody(
  { checksum }: CopyRequest,
  { text, word }: Wanted,
  engine: BuildEngine,
): Promise<RemoteSource> {
  const expected = checksum === undefined ? undefined : checkUrlChecksum(checksum);
  let body: Promise<Download> | undefined;
  const download = async (): Promise<Download> =>
    (await engine.fetcher()).download(text, {
      signal: engine.signal,
      ...(expected ? { checksum: expected } : {}),
    });
  const identity = expected ?? (await (body ??= download())).digest;
  return { identity, open: async () => openBody(await (body ??= download()), withoutUrlSecrets(text), word) };
}

function openBody(body: Download, shown: string, word: number): OpenedRemote {
  const name = bytesOf(body.name ?? "");
  const entry: TreeEntry = {
    path: (name === "" ? "body" : name) as BytePath,
    type: "file",
    mode: BODY_MODE,
    uid: 0,
    gid: 0,
    size: body.size,
    // Without Last-Modified: the epoch, as in BuildKit.
    mtimeNs: BigInt(Math.trunc(body.modified ?? 0)) * 1_000_000n,
  };
  const selected: Selected = {
    entry,
    name,
    word,
    isPartial: false,
    entries: () => [{ entry, relative: ROOT }],
  };
  return {
    source: { tree: bodyTree(entry, body), name: shown, keepOwner: false },
    selected: [selected],
    isBody: true,
    [Symbol.dispose]: () => undefined,
  };
}

/** A tree of nothing but a file. */
function bodyTree(entry: TreeEntry, body: { readonly path: string; readonly digest: Digest }): FileTree {
  return {
    lstat: (path) => (path === entry.path ? entry : undefined),
    list: (path) => (path === ROOT ? [entry.path] : []),
    open: () => {
      const fd = openFile(body.path);
      return { fd, offset: 0, size: entry.size, close: () => closeSync(fd) };
    },
    digest: () => body.digest,
  };
}

function openFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw ioError("open", path, error);
  }
}

async function findRepository(
  parsed: GitSource,
  request: CopyRequest,
  wanted: Wanted,
  engine: BuildEngine,
): Promise<RemoteSource> {
  const keepGitDir = agreed("keep-git-dir", parsed.keepGitDir, request.keepGitDir) ?? false;
  const source = {
    ...parsed,
    checksum: agreed("checksum", parsed.checksum, request.checksum?.toLowerCase()),
  };
  const commit = await (await engine.fetcher()).resolve(source, { signal: engine.signal });
  const shown = withoutUrlSecrets(wanted.text);
  const open = async (): Promise<OpenedRemote> => {
    const dest = newDirectory(engine);
    const remove = (): void => rmSync(dest, { recursive: true, force: true });
    try {
      const fetcher = await engine.fetcher();
      await fetcher.checkout(source, commit, { dest, keepGitDir, signal: engine.signal });
      const dir = source.subdir === undefined ? dest : insideTree(dest, source.subdir, shown);
      return openRepository(dir, shown, wanted, remove);
    } catch (error) {
      remove();
      throw error;
    }
  };
  return { identity: JSON.stringify([commit, keepGitDir, source.submodules]), open };
}

function openRepository(dir: string, shown: string, wanted: Wanted, remove: () => void): OpenedRemote {
  const tree = openContext({
    dir,
    ignore: [],
    statCacheDir: `${dir}.stat`,
    xattrs: () => new Map(),
    now: Date.now,
  });
  const source: CopySource = { tree, name: shown, keepOwner: false };
  return {
    source,
    selected: selectSource(source, { ...wanted, text: "/" }),
    isBody: false,
    [Symbol.dispose]() {
      tree[Symbol.dispose]();
      remove();
    },
  };
}

let madeDirectories = 0;

function newDirectory(engine: BuildEngine): string {
  const dir = join(engine.scratchDir(), `checkout-${(madeDirectories += 1)}`);
  try {
    mkdirSync(dir, { mode: 0o755 });
  } catch (error) {
    throw ioError("make", dir, error);
  }
  return dir;
}

/** What the URL and the flag say. Throws `usage` when they say different things. */
function agreed<V extends string | boolean>(
  name: string,
  inUrl: V | undefined,
  inFlag: V | undefined,
): V | undefined {
  if (inUrl !== undefined && inFlag !== undefined && inUrl !== inFlag)
    throw new CooperError(
      "usage",
      `--${name}=${inFlag} and the URL's ${name}=${inUrl} contradict each other`,
    );
  return inUrl ?? inFlag;
}
