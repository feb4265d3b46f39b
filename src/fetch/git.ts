import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { CooperError } from "../errors.js";
import type { GitCall, GitConfig, GitOptions, GitResult } from "./git-run.js";
import { runGit, userConfig } from "./git-run.js";
import { settleTree } from "./work-tree.js";
import type { CheckoutOptions, FetchOptions, GitSource } from "./types.js";

const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const ABBREVIATED = /^[0-9a-f]{7,63}$/;

/** git for one Fetcher. */
export interface GitRoom extends GitOptions {
  /** An existing private directory for what is needed only for a moment. */
  readonly scratchDir: () => string;
  /** What the user's own configuration says, read once. */
  userConfig?: Promise<GitConfig>;
}

/** `Fetcher.resolve`. */
export async function resolveRef(room: GitRoom, source: GitSource, options: FetchOptions): Promise<string> {
  const { ref } = source;
  const found =
    ref !== undefined && COMMIT.test(ref) ? { commit: ref } : await advertised(room, source, options);
  const { checksum } = source;
  const fits = [found.commit, found.tag].some(
    (id) => checksum === undefined || id?.startsWith(checksum) === true,
  );
  if (fits) return found.commit;
  throw new CooperError(
    "corrupt",
    `${ref ?? "HEAD"} of ${source.url} is commit ${found.commit}, which does not begin with ${checksum}`,
  );
}

interface Found {
  readonly commit: string;
  /** Of an annotated tag: the tag's own object. */
  readonly tag?: string | undefined;
}

/** What the server says a ref is; a branch wins over a tag of its name. */
async function advertised(room: GitRoom, source: GitSource, options: FetchOptions): Promise<Found> {
  const { ref = "HEAD" } = source;
  const { url, config } = await access(room, source, options.signal);
  const { signal } = options;
  const cwd = room.scratchDir();
  const args = ["ls-remote", "--quiet", "--", url, ref, `${ref}^{}`];
  const answer = await runGit(room, { cwd, args, config, signal });
  if (answer.status !== 0) throw gitFailure(`cannot read ${source.url}`, answer);
  const refs = new Map(
    answer.stdout.split("\n").flatMap((line) => {
      const [id = "", name = ""] = line.split("\t");
      return COMMIT.test(id) ? [[name, id] as const] : [];
    }),
  );
  const short = ref.replace(/^refs\//, "");
  for (const name of ref === "HEAD" ? [ref] : [`refs/${short}`, `refs/heads/${ref}`, `refs/tags/${ref}`]) {
    const id = refs.get(name);
    const peeled = refs.get(`${name}^{}`);
    if (id !== undefined) return { commit: peeled ?? id, tag: peeled === undefined ? undefined : id };
  }
  if (ABBREVIATED.test(ref)) return { commit: await expanded(room, source, ref, options) };
  throw noSuchRef(source, ref);
}

/** The commit that an abbreviation means; only a whole history can tell. */
async function expanded(
  room: GitRoom,
  source: GitSource,
  abbreviation: string,
  { signal }: FetchOptions,
): Promise<string> {
  const { url, config } = await access(room, source, signal);
  const dir = await mkdtemp(join(room.scratchDir(), "history-"));
  try {
    const git = gitIn(room, { cwd: dir, config, signal }, `cannot read the history of ${source.url}`);
    await git("init", "--quiet", "--bare", "--", ".");
    await git("fetch", "--quiet", "--filter=tree:0", "--", url, "+refs/*:refs/*");
    const name = `${abbreviation}^{commit}`;
    const { status, stdout } = await runGit(room, {
      cwd: dir,
      args: ["rev-parse", "--quiet", "--verify", name],
      config,
      signal,
    });
    if (status !== 0) throw noSuchRef(source, abbreviation);
    return stdout.trim();
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function noSuchRef(source: GitSource, ref: string): CooperError {
  return new CooperError("not-found", `${source.url} has no branch, tag or commit ${ref}`);
}

/** `Fetcher.checkout`. */
export async function checkoutCommit(
  room: GitRoom,
  source: GitSource,
  commit: string,
  options: CheckoutOptions,
): Promise<void> {
  if (!COMMIT.test(commit)) throw new Error(`not a commit: ${commit}`);
  const { dest, signal } = options;
  const { url, config } = await access(room, source, signal);
  const call = { cwd: dest, config, signal };
  const git = gitIn(room, call, `cannot fetch ${source.url}`);
  const format = commit.length === 64 ? ["--object-format=sha256"] : [];
  await git("init", "--quiet", ...format, "--", ".");
  await git("remote", "add", "--", "origin", url);
  await fetchCommit(room, source, commit, call);
  await git("checkout", "--quiet", "--force", "--detach", commit);
  if (source.submodules) await git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1");
  const seconds = Number(await git("show", "--no-patch", "--format=%ct", commit));
  if (options.keepGitDir) await tidyGitDir(dest, git);
  settleTree(dest, { seconds, keepGitDir: options.keepGitDir });
}

/** One commit without its history, where the server gives that; else everything it has. */
async function fetchCommit(
  room: GitRoom,
  source: GitSource,
  commit: string,
  call: Omit<GitCall, "args">,
): Promise<void> {
  const shallow = ["fetch", "--progress", "--no-tags", "--depth=1", "--", "origin"];
  const whole = ["fetch", "--progress", "--force", "--", "origin"];
  const tries = [
    [...shallow, commit],
    ...(source.ref === undefined || COMMIT.test(source.ref) ? [] : [[...shallow, source.ref]]),
    [...whole, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"],
    ...(source.ref?.startsWith("refs/") === true ? [[...whole, source.ref]] : []),
  ];
  let last: GitResult | undefined;
  for (const args of tries) {
    const answer = await runGit(room, { ...call, args });
    if (answer.status !== 0) last = answer;
    const there = await runGit(room, { ...call, args: ["cat-file", "-e", `${commit}^{commit}`] });
    if (there.status === 0) return;
    if (answer.status !== 0 && isFinal(answer)) throw gitFailure(`cannot fetch ${source.url}`, answer);
  }
  if (last && last.status !== 128) throw gitFailure(`cannot fetch ${source.url}`, last);
  throw noSuchRef(source, commit);
}

type Git = (...args: readonly string[]) => Promise<string>;

/** git for one directory; answers with what it printed, and throws what it said when it fails. */
function gitIn(room: GitRoom, call: Omit<GitCall, "args">, doing: string): Git {
  return async (...args) => {
    const answer = await runGit(room, { ...call, args });
    if (answer.status === 0) return answer.stdout;
    throw gitFailure(doing, answer);
  };
}

/** The URL without user and password, and what git must know to reach it: those, for this server alone. */
async function access(
  room: GitRoom,
  source: GitSource,
  signal: AbortSignal | undefined,
): Promise<{ readonly url: string; readonly config: GitConfig }> {
  const read = (room.userConfig ??= userConfig(room, room.scratchDir(), signal));
  const own = await read.catch((error: unknown) => {
    delete room.userConfig;
    throw error;
  });
  if (!/^https?:/.test(source.url)) return { url: source.url, config: own };
  const url = new URL(source.url);
  const user = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password);
  url.username = "";
  url.password = "";
  if (user === "" && password === "") return { url: url.href, config: own };
  const basic = `Authorization: Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const given: GitConfig =
    password === ""
      ? [[`credential.${url.origin}.username`, user]]
      : [[`http.${url.origin}/.extraHeader`, basic]];
  return { url: url.href, config: [...own, ...given] };
}

/** What no second way of asking would change. */
function isFinal({ stderr }: GitResult): boolean {
  return WANTS_LOGIN.test(stderr) || MISSING.test(stderr) || UNREACHABLE.test(stderr);
}

const WANTS_LOGIN =
  /could not read (?:Username|Password)|Authentication failed|Permission denied \(|Host key verification failed|returned error: 40[13]/;
const MISSING =
  /repository '[^']*' not found|does not appear to be a git repository|repository not exported|returned error: 4(?:04|10)|access denied or repository not exported/i;
const UNREACHABLE =
  /unable to (?:connect|look up)|Could not resolve host|Failed to connect|Connection refused/i;

/** Why git failed, from what it said first: what follows are consequences. CooperError takes secrets out of URLs. */
function gitFailure(doing: string, { status, stderr }: GitResult): CooperError {
  if (status === -1) return new CooperError("network", `${doing}: git heard nothing for too long`);
  const lines = stderr.split(/[\r\n]+/).map((line) => line.trim());
  const fatal = lines.find(
    (line) => /^(?:fatal|error):/.test(line) && !/Could not read from remote/.test(line),
  );
  const line = fatal ?? lines.find((text) => text !== "" && !/^(?:remote|Cloning|Submodule)/.test(text));
  const rest = line?.endsWith(":") === true ? ` ${lines[lines.indexOf(line) + 1] ?? ""}` : "";
  const reason = line?.replace(/^(?:fatal|error):\s*/, "") ?? `git ended with status ${status}`;
  const message = `${doing}: ${reason}${rest}`;
  if (WANTS_LOGIN.test(stderr))
    return new CooperError("auth", message, {
      hint: "put user and password into the URL, or set up a credential helper or an ssh key that needs no question",
    });
  if (/transport '[^']*' not allowed/.test(stderr)) return new CooperError("denied", message);
  if (MISSING.test(stderr)) return new CooperError("not-found", message);
  if (/No space left on device/.test(stderr)) return new CooperError("no-space", message);
  return new CooperError("network", message);
}

/** What differs between two clones of one commit and says nothing of it. */
async function tidyGitDir(dest: string, git: Git): Promise<void> {
  for (const name of ["FETCH_HEAD", "ORIG_HEAD", "logs", "hooks", "branches", "description"])
    await rm(join(dest, ".git", name), { recursive: true, force: true });
  // An index without the times and inode numbers of this checkout.
  await rm(join(dest, ".git", "index"), { force: true });
  await git("read-tree", "HEAD");
}
