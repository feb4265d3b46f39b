import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { COMMIT_TIME, startGitServer } from "../support/git-server.js";
import { describeWith } from "../support/packages.js";
import { failureOf, gitSource, openFetchRoom } from "./room.js";
import type { FetchRoom } from "./room.js";

/** Resolves and checks out; the directory. */
async function checkout(room: FetchRoom, url: string, keepGitDir = false): Promise<string> {
  const source = gitSource(url);
  const dest = room.empty(`tree-${readdirSync(room.dir).length}`);
  const commit = await room.fetcher.resolve(source);
  await room.fetcher.checkout(source, commit, { dest, keepGitDir });
  return dest;
}

describeWith(["git"], "git repositories", () => {
  test("branches, tags, commits and other refs mean commits", async () => {
    await using server = await startGitServer();
    const repo = server.repository("r");
    const first = repo.commit({ f: "1" });
    repo.git("tag", "--annotate", "--message=m", "v1");
    const second = repo.commit({ f: "2" });
    repo.git("branch", "team/x");
    repo.git("tag", "both", first);
    repo.git("branch", "both");
    repo.git("update-ref", "refs/pull/7/head", first);
    const tag = repo.git("rev-parse", "v1");
    await using room = openFetchRoom();
    const resolve = (rest: string) => room.fetcher.resolve(gitSource(`${server.url}/r.git${rest}`));
    const refs = [
      "",
      "#main",
      "#team/x",
      "#refs/heads/main",
      `#${second.slice(0, 8)}`,
      "#both",
      "?branch=both",
    ];
    for (const ref of refs) expect([ref, await resolve(ref)]).toEqual([ref, second]);
    const firsts = ["#v1", "?tag=v1", "?tag=both", "#pull/7/head", "#refs/tags/v1", `#${first}`];
    for (const ref of firsts) expect([ref, await resolve(ref)]).toEqual([ref, first]);
    expect(await resolve(`?ref=v1&checksum=${first.slice(0, 10)}`)).toBe(first);
    expect(await resolve(`?ref=v1&checksum=${tag}`)).toBe(first);
    expect(await failureOf(resolve(`?ref=main&checksum=${first}`))).toMatchObject({ code: "corrupt" });
    for (const ref of ["#nope", "#abcdef0", "?tag=main"])
      expect(await failureOf(resolve(ref))).toMatchObject({ code: "not-found" });
  });

  test("a work tree is the commit's, whatever our umask and the time", async () => {
    await using server = await startGitServer();
    const repo = server.repository("r");
    repo.commit({ "dir/run": "#!/bin/sh\n", link: "link:dir/run", ".gitattributes": "* text=auto\n" });
    repo.git("update-index", "--chmod=+x", "dir/run");
    repo.git("commit", "--quiet", "--message=mode");
    await using room = openFetchRoom();
    const before = process.umask(0o077);
    const dest = await checkout(room, `${server.url}/r.git`).finally(() => process.umask(before));
    expect(readdirSync(dest).toSorted()).toEqual([".gitattributes", "dir", "link"]);
    expect(readlinkSync(join(dest, "link"))).toBe("dir/run");
    const modes = [".", "dir", "dir/run", ".gitattributes"].map((name) => statSync(join(dest, name)));
    expect(modes.map(({ mode }) => mode & 0o7777)).toEqual([0o755, 0o755, 0o755, 0o644]);
    expect(modes.map(({ mtimeMs }) => mtimeMs / 1000)).toEqual(Array(4).fill(COMMIT_TIME));
  });

  test("a commit that no ref shows comes from a server that gives only those", async () => {
    await using server = await startGitServer();
    const repo = server.repository("r");
    const first = repo.commit({ f: "1" });
    repo.commit({ f: "2" });
    repo.git("config", "uploadpack.allowAnySHA1InWant", "false");
    repo.git("config", "protocol.version", "0");
    await using room = openFetchRoom();
    const dest = await checkout(room, `${server.url}/r.git#${first}`);
    expect(readFileSync(join(dest, "f"), "utf8")).toBe("1");
    expect(await failureOf(checkout(room, `${server.url}/r.git#${"0".repeat(40)}`))).toMatchObject({
      code: "not-found",
    });
  });

  test("submodules come along unless they are not wanted; .git stays only when it is", async () => {
    await using server = await startGitServer();
    const sub = server.repository("sub");
    sub.commit({ s: "sub" });
    const repo = server.repository("r");
    repo.submodule("m", sub, "../sub.git");
    await using room = openFetchRoom();
    const url = `${server.url}/r.git`;
    const whole = await checkout(room, url);
    expect(readFileSync(join(whole, "m/s"), "utf8")).toBe("sub");
    expect([existsSync(join(whole, ".git")), existsSync(join(whole, "m/.git"))]).toEqual([false, false]);
    expect(readdirSync(join(await checkout(room, `${url}?submodules=false`), "m"))).toEqual([]);
    const kept = await checkout(room, url, true);
    expect(existsSync(join(kept, ".git/HEAD"))).toBe(true);
    expect(readFileSync(join(kept, ".git/config"), "utf8")).toContain(url);
  });

  test("credentials go to their server, and stand nowhere", async () => {
    await using other = await startGitServer();
    const sub = other.repository("sub");
    sub.commit({ s: "sub" });
    await using server = await startGitServer({ login: "user:canary" });
    const repo = server.repository("r");
    repo.submodule("m", sub, `${other.url}/sub.git`);
    await using room = openFetchRoom();
    const dest = await checkout(room, `${server.url.replace("//", "//user:canary@")}/r.git`, true);
    expect(readFileSync(join(dest, "m/s"), "utf8")).toBe("sub");
    expect(other.log.length).toBeGreaterThan(0);
    expect(other.log.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
    expect(readFileSync(join(dest, ".git/config"), "utf8")).not.toContain("canary");
    const wrong = `${server.url.replace("//", "//user:wrong-canary@")}/r.git`;
    for (const url of [wrong, `${server.url}/r.git`]) {
      const failure = await failureOf(room.fetcher.resolve(gitSource(url)));
      expect(failure).toMatchObject({ code: "auth" });
      expect(`${failure.message} ${failure.hint}`).not.toContain("canary");
    }
  });

  test("the user's credential helper is asked", async () => {
    await using server = await startGitServer({ login: "user:canary" });
    const commit = server.repository("r").commit({ f: "1" });
    await using room = openFetchRoom();
    writeFileSync(
      join(room.dir, ".gitconfig"),
      "[credential]\n\thelper = \"!printf 'username=user\\\\npassword=canary\\\\n'; true\"\n",
    );
    expect(await room.fetcher.resolve(gitSource(`${server.url}/r.git`))).toBe(commit);
  });

  test("what is missing is named", async () => {
    await using server = await startGitServer();
    await using room = openFetchRoom();
    const resolve = (url: string) => failureOf(room.fetcher.resolve(gitSource(url)));
    expect(await resolve(`${server.url}/none.git`)).toMatchObject({ code: "not-found" });
    expect(await resolve("http://127.0.0.1:1/none.git")).toMatchObject({ code: "network" });
    await using bare = openFetchRoom({ env: { PATH: "/nowhere" } });
    const failure = await failureOf(bare.fetcher.resolve(gitSource(`${server.url}/r.git`)));
    expect(failure).toMatchObject({ code: "unsupported", hint: "install the package git" });
  });

  test("the caller's signal ends git and what git started", async () => {
    const controller = new AbortController();
    await using server = await startGitServer();
    server.repository("r").commit({ f: "1" });
    await using room = openFetchRoom();
    const work = room.fetcher.resolve(gitSource(`${server.url}/r.git`), { signal: controller.signal });
    controller.abort();
    expect(await failureOf(work)).toMatchObject({ code: "aborted" });
  });
});
