import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import type { CooperError } from "../../src/errors.js";
import { failureOf, gitSource, openFetchRoom } from "../fetch/room.js";
import { startGitServer } from "../support/git-server.js";
import { describeWith } from "../support/packages.js";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "cooper-p03-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function failedBuild(context: string): Promise<CooperError> {
  await using cooper = await openCooper({ root: join(dir, "root") });
  return failureOf(cooper.build({ context }));
}

describeWith(["git", "root"], "P03: a git context runs nothing and leads nowhere", () => {
  test("a subdirectory that is a link out of the repository is refused", async () => {
    await using server = await startGitServer();
    server.repository("r").commit({ proj: "link:/", Containerfile: "FROM scratch\n" });
    const failure = await failedBuild(`${server.url}/r.git#main:proj`);
    expect(failure).toMatchObject({ code: "denied" });
    expect(await failedBuild(`${server.url}/r.git#main:proj/etc`)).toMatchObject({ code: "denied" });
  });

  test("a Containerfile that is a link out of the repository is not read", async () => {
    const secret = join(dir, "secret");
    writeFileSync(secret, "CANARY\n");
    await using server = await startGitServer();
    server.repository("r").commit({ Containerfile: `link:${secret}` });
    const failure = await failedBuild(`${server.url}/r.git`);
    expect(failure).toMatchObject({ code: "not-found" });
    expect(JSON.stringify(failure.findings)).not.toContain("CANARY");
  });

  test.each(["-u./x", "--upload-pack=touch ran", "--upload-pack=touch${IFS}ran", "-oProxyCommand=x"])(
    "the ref %s is refused before git is started",
    async (ref) => {
      expect(await failedBuild(`http://127.0.0.1:1/r.git#${ref}`)).toMatchObject({ code: "usage" });
    },
  );

  test.each(["ssh://-oProxyCommand=touch ran/x.git", "ext::sh -c touch% ran", "file:///etc"])(
    "the URL %s is refused",
    async (url) => {
      expect(await failedBuild(url)).toMatchObject({ code: expect.stringMatching(/usage|io|context/) });
    },
  );

  test.each(["file:///", "ext::sh -c touch% "])("a submodule over %s is refused", async (scheme) => {
    await using server = await startGitServer();
    const secret = server.repository("secret");
    secret.commit({ s: "CANARY" });
    const ran = join(dir, "ran");
    const repo = server.repository("r");
    repo.submodule("m", secret, scheme === "file:///" ? `file://${secret.dir}` : `${scheme}${ran}`);
    const failure = await failedBuild(`${server.url}/r.git`);
    expect(failure).toMatchObject({ code: "denied" });
    expect(existsSync(ran)).toBe(false);
  });

  test("neither the user's hooks, monitor and templates run, nor filters of the repository", async () => {
    const ran = join(dir, "ran");
    const program = join(dir, "program");
    writeFileSync(program, `#!/bin/sh\ntouch ${ran}\ncat\n`);
    chmodSync(program, 0o755);
    await using server = await startGitServer();
    const repo = server.repository("r");
    repo.commit({ f: "1", ".gitattributes": "* filter=evil\n" });
    const evil = {
      GIT_SSH_VARIANT: "simple",
      GIT_CONFIG_COUNT: "2",
      GIT_CONFIG_KEY_0: "core.fsmonitor",
      GIT_CONFIG_VALUE_0: program,
      GIT_CONFIG_KEY_1: "filter.evil.smudge",
      GIT_CONFIG_VALUE_1: program,
      GIT_EXTERNAL_DIFF: program,
      GIT_PROXY_COMMAND: program,
    };
    await using room = openFetchRoom({ env: { PATH: process.env["PATH"], HOME: dir, ...evil } });
    writeFileSync(
      join(dir, ".gitconfig"),
      `[core]\n\tfsmonitor = ${program}\n\thooksPath = ${dir}\n[filter "evil"]\n\tsmudge = ${program}\n[init]\n\ttemplateDir = ${dir}\n`,
    );
    writeFileSync(join(dir, "post-checkout"), `#!/bin/sh\ntouch ${ran}\n`, { mode: 0o755 });
    const source = gitSource(`${server.url}/r.git`);
    const commit = await room.fetcher.resolve(source);
    await room.fetcher.checkout(source, commit, { dest: room.empty("tree"), keepGitDir: true });
    expect(existsSync(ran)).toBe(false);
  });
});
