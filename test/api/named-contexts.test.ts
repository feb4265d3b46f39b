import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import type { BuildOptions, BuildResult } from "../../src/index.js";
import { failureOf, startServer } from "../fetch/room.js";
import { startGitServer } from "../support/git-server.js";
import { describeWith } from "../support/packages.js";
import { forgeTar } from "../support/tar-forge.js";
import { makeContext, openUsers } from "./users.js";

const COPY_DEP = "FROM scratch\nCOPY --from=dep . /x\n";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-named-"));
  mkdirSync(join(dir, "context"));
});
afterEach(() => {
  const staged = join(dir, "root/tmp");
  expect(existsSync(staged) ? readdirSync(staged) : []).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});

async function build(
  containerfile: string,
  dep: string,
  options: BuildOptions = {},
): Promise<BuildResult & { readonly files: readonly string[] }> {
  await using cooper = await openCooper({ root: join(dir, "root") });
  const dest = mkdtempSync(join(dir, "out-"));
  const result = await cooper.build({
    containerfile,
    contextDir: join(dir, "context"),
    buildContexts: { dep },
    outputs: [{ type: "local", dest }],
    ...options,
  });
  const files = readdirSync(dest, { recursive: true }) as string[];
  return { ...result, files: files.toSorted() };
}

describeWith(["git", "root"], "a --build-context that is fetched", () => {
  test("an unchanged repository is found in the cache, and its ignore file does not hold", async () => {
    await using server = await startGitServer();
    const repo = server.repository("r");
    repo.commit({ f: "1", ".dockerignore": "f\n", "sub/g": "2" });
    const first = await build(COPY_DEP, `${server.url}/r.git`);
    expect(first.files).toEqual(["x", "x/.dockerignore", "x/f", "x/sub", "x/sub/g"]);
    const again = await build(COPY_DEP, `${server.url}/r.git#main`);
    expect([again.steps, again.imageId]).toEqual([{ cached: 1, built: 0 }, first.imageId]);
    expect((await build(COPY_DEP, `${server.url}/r.git#main:sub`)).files).toEqual(["x", "x/g"]);
    repo.commit({ f: "changed" });
    expect((await build(COPY_DEP, `${server.url}/r.git`)).steps).toEqual({ cached: 0, built: 1 });
  });

  test("stages that use it share one fetch; when none does, nothing is fetched", async () => {
    const archive = forgeTar([
      { name: "f", content: "x" },
      { name: ".dockerignore", content: "f\n" },
    ]);
    await using server = await startServer((_, response) => response.end(archive));
    const stages = "FROM scratch AS a\nCOPY --from=dep f /a\nFROM scratch\nCOPY --from=dep f /b\n";
    const both = await build(`${stages}COPY --from=a /a /c\n`, `${server.url}/ctx.tar`);
    expect(both.files).toEqual(["b", "c"]);
    expect(server.log).toHaveLength(1);
    await build("FROM scratch\nLABEL a=b\n", `${server.url}/ctx.tar`);
    expect(server.log).toHaveLength(1);
  });

  test("a step that fails after it leaves nothing of it", async () => {
    await using server = await startGitServer();
    server.repository("r").commit({ f: "1" });
    const failure = await failureOf(build(`${COPY_DEP}COPY missing /\n`, `${server.url}/r.git`));
    expect(failure).toMatchObject({ code: "not-found" });
  });

  test.each([
    ["/plain", "context", "--build-context dep: http"],
    ["/missing", "not-found", "the server answered 404"],
    ["/r.git#nosuch", "not-found", "nosuch"],
  ])("%s is told", async (path, code, message) => {
    await using git = await startGitServer();
    git.repository("r").commit({ f: "1" });
    await using server = await startServer((request, response) => {
      response.writeHead(request.url === "/plain" ? 200 : 404).end("no archive");
    });
    const { url } = path.includes(".git") ? git : server;
    const failure = await failureOf(build(COPY_DEP, `${url.replace("//", "//me:canary@")}${path}`));
    expect(failure).toMatchObject({ code });
    expect(failure.message).toContain(message);
    expect(`${failure.message} ${failure.hint}`).not.toContain("canary");
  });
});

describeWith(["git", "root", "newuidmap", "unshare"], "as an ordinary user", () => {
  test("it is fetched by the engine", async () => {
    using users = openUsers();
    const user = users.add({ subordinateIds: true });
    await using server = await startGitServer();
    server.repository("r").commit({ f: "1" });
    const context = makeContext(user.home, "c", COPY_DEP);
    const args = ["build", "--build-context", `dep=${server.url}/r.git`, context];
    expect(await user.cooper(...args)).toMatchObject({ code: 0 });
    expect((await user.cooper(...args)).stderr).toContain("Using cache");
  });
});
