import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const IDENTITY = {
  GIT_AUTHOR_NAME: "author",
  GIT_AUTHOR_EMAIL: "author@example.com",
  GIT_AUTHOR_DATE: "2020-01-02T03:04:05Z",
  GIT_COMMITTER_NAME: "author",
  GIT_COMMITTER_EMAIL: "author@example.com",
  GIT_COMMITTER_DATE: "2020-01-02T03:04:05Z",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
};

/** Seconds since 1970 of every commit here. */
export const COMMIT_TIME = 1_577_934_245;

/** A repository to be served, with its work tree. */
export interface TestRepository {
  readonly dir: string;
  /** Runs git in the work tree; what it prints, without the newline at its end. */
  git(...args: readonly string[]): string;
  /** Writes files (`link:` before a text: a symbolic link) and commits all; returns the commit. */
  commit(files: Readonly<Record<string, string>>): string;
  /** Adds and commits another repository as a submodule that is to be had at `url`. */
  submodule(path: string, from: TestRepository, url: string): void;
}

/** Real git over http on loopback, by `git http-backend`. */
export interface GitServer extends AsyncDisposable {
  readonly url: string;
  /** Headers of all requests so far. */
  readonly log: readonly IncomingMessage["headers"][];
  /** A new repository, served as `<url>/<name>.git`. */
  repository(name: string): TestRepository;
}

export interface GitServerOptions {
  /** `user:password` that every request must bring. */
  readonly login?: string;
}

export async function startGitServer({ login }: GitServerOptions = {}): Promise<GitServer> {
  const root = mkdtempSync(join(tmpdir(), "cooper-git-"));
  const log: IncomingMessage["headers"][] = [];
  const expected = login === undefined ? undefined : `Basic ${Buffer.from(login).toString("base64")}`;
  const server = createServer((request, response) => {
    log.push(request.headers);
    if (expected === undefined || request.headers.authorization === expected) {
      serve(root, request, response);
      return;
    }
    response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log,
    repository: (name) => makeRepository(join(root, `${name}.git`)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** As a CGI program. Source: RFC 3875, git-http-backend(1). */
function serve(root: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://git");
  const child = spawn("git", ["http-backend"], {
    env: {
      ...process.env,
      ...IDENTITY,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      REQUEST_METHOD: request.method,
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      CONTENT_LENGTH: request.headers["content-length"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
    },
    stdio: ["pipe", "pipe", "ignore"],
  });
  request.pipe(child.stdin).on("error", () => undefined);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.on("close", () => {
    const all = Buffer.concat(chunks);
    const end = Math.max(all.indexOf("\r\n\r\n"), 0);
    const fields = all
      .toString("latin1", 0, end)
      .split("\r\n")
      .map((line) => line.split(/:\s*/, 2) as [string, string]);
    const status = Number(fields.find(([name]) => name === "Status")?.[1]?.slice(0, 3) ?? 200);
    const headers = fields.filter(([name]) => name !== "Status" && name !== "");
    response.writeHead(end === 0 ? 500 : status, Object.fromEntries(headers));
    response.end(all.subarray(end + 4));
  });
}

function makeRepository(dir: string): TestRepository {
  mkdirSync(dir);
  const git = (...args: readonly string[]): string =>
    execFileSync("git", ["-c", "protocol.file.allow=always", ...args], {
      cwd: dir,
      encoding: "utf8",
      env: { ...process.env, ...IDENTITY },
      stdio: ["ignore", "pipe", "pipe"],
    }).trim();
  git("init", "--quiet", "--initial-branch=main");
  const repository: TestRepository = {
    dir,
    git,
    submodule(path, from, url) {
      // From its directory: this process is the server, and waits for git.
      git("submodule", "--quiet", "add", from.dir, path);
      git("config", "--file", ".gitmodules", `submodule.${path}.url`, url);
      repository.commit({});
    },
    commit(files) {
      for (const [name, text] of Object.entries(files)) {
        const path = join(dir, name);
        mkdirSync(dirname(path), { recursive: true });
        rmSync(path, { force: true });
        if (text.startsWith("link:")) symlinkSync(text.slice("link:".length), path);
        else writeFileSync(path, text);
      }
      git("add", "--all");
      git("commit", "--quiet", "--allow-empty", "--message=change");
      return git("rev-parse", "HEAD");
    },
  };
  return repository;
}
