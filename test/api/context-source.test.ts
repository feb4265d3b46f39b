import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import type { BuildOptions, BuildResult } from "../../src/index.js";
import { failureOf, startServer } from "../fetch/room.js";
import { startGitServer } from "../support/git-server.js";
import { describeWith } from "../support/packages.js";
import { forgeTar } from "../support/tar-forge.js";
import { openUsers } from "./users.js";

const COPY_ALL = "FROM scratch\nCOPY . /x\n";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "cooper-context-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function build(options: BuildOptions): Promise<BuildResult & { readonly files: readonly string[] }> {
  await using cooper = await openCooper({ root: join(dir, "root") });
  const dest = mkdtempSync(join(dir, "out-"));
  const result = await cooper.build({ ...options, outputs: [{ type: "local", dest }] });
  const files = readdirSync(dest, { recursive: true }) as string[];
  return { ...result, files: files.toSorted() };
}

describeWith(["git", "root"], "contexts that are no directories", () => {
  test("an unchanged repository is built from the cache, and its ignore file does not hold", async () => {
    await using server = await startGitServer();
    const repo = server.repository("r");
    repo.commit({ Dockerfile: COPY_ALL, f: "1", ".dockerignore": "f\n", "sub/Other": COPY_ALL });
    const first = await build({ context: `${server.url}/r.git` });
    expect(first.files).toEqual(["x", "x/.dockerignore", "x/Dockerfile", "x/f", "x/sub", "x/sub/Other"]);
    const again = await build({ context: `${server.url}/r.git#main` });
    expect([again.steps, again.imageId]).toEqual([{ cached: 1, built: 0 }, first.imageId]);
    const below = await build({ context: `${server.url}/r.git#main:sub`, file: "Other" });
    expect(below.files).toEqual(["x", "x/Other"]);
    const kept = { context: `${server.url}/r.git`, buildArgs: { BUILDKIT_CONTEXT_KEEP_GIT_DIR: "1" } };
    expect((await build(kept)).files).toContain("x/.git/HEAD");
    expect(readdirSync(join(dir, "root/tmp"))).toEqual([]);
  });

  test("a URL is an archive, or else a Containerfile", async () => {
    const archive = forgeTar([
      { name: "Containerfile", content: COPY_ALL },
      { name: "f", content: "x" },
    ]);
    await using server = await startServer((request, response) =>
      response.end(request.url === "/ctx.tar" ? archive : COPY_ALL),
    );
    expect((await build({ context: `${server.url}/ctx.tar` })).files).toEqual([
      "x",
      "x/Containerfile",
      "x/f",
    ]);
    expect((await build({ context: `${server.url}/Containerfile` })).files).toEqual(["x"]);
    const both = failureOf(build({ context: `${server.url}/Containerfile`, file: "Other" }));
    expect(await both).toMatchObject({ code: "usage" });
  });

  test.each(["file:///etc", "ftp://host/x"])("%s is refused", async (context) => {
    expect(await failureOf(build({ context }))).toMatchObject({ code: "usage" });
  });

  test("stdin is an archive or a Containerfile, not both it and --file", () => {
    const archive = forgeTar([
      { name: "Containerfile", content: COPY_ALL },
      { name: "f", content: "x" },
    ]);
    const cooper = (input: string | Buffer, ...args: readonly string[]): string =>
      execFileSync(process.execPath, ["dist/cooper.cjs", "--root", join(dir, "root"), "build", ...args], {
        input,
        encoding: "utf8",
        stdio: ["pipe", "pipe", "pipe"],
      }).trim();
    expect(cooper(archive, "-")).toMatch(/^[0-9a-f]{64}$/);
    expect(cooper("FROM scratch\nLABEL a=b\n", "-")).toMatch(/^[0-9a-f]{64}$/);
    expect(() => cooper("FROM scratch\n", "-f", "-", "-")).toThrow("stdin cannot be both");
  });

  test("what a killed build fetched is removed by the next", async () => {
    await using server = await startGitServer();
    server.repository("r").commit({ Dockerfile: COPY_ALL });
    let asked = (): void => undefined;
    const stalled = new Promise<void>((resolve) => (asked = resolve));
    await using stuck = await startServer((_, response) => {
      response.writeHead(200).write("x");
      asked();
    });
    const root = join(dir, "root");
    const args = ["dist/cooper.cjs", "--root", root, "build", `${stuck.url}/ctx.tar`];
    const child = spawn(process.execPath, args, { stdio: "ignore" });
    await stalled;
    child.kill("SIGKILL");
    await once(child, "close");
    expect(readdirSync(join(root, "tmp"))).not.toEqual([]);
    await build({ context: `${server.url}/r.git` });
    expect(readdirSync(join(root, "tmp"))).toEqual([]);
  });
});

describeWith(["git", "root", "newuidmap", "unshare"], "as an ordinary user", () => {
  test("stdin and repositories are built by the engine", async () => {
    using users = openUsers();
    const user = users.add({ subordinateIds: true });
    await using server = await startGitServer();
    server.repository("r").commit({ Dockerfile: COPY_ALL, f: "1" });
    const context = `${server.url}/r.git`;
    expect(await user.cooper("build", context)).toMatchObject({ code: 0 });
    const again = await user.cooper("build", context);
    expect(again.stderr).toContain("Using cache");
    const command = [process.execPath, join(users.dist, "cooper.cjs"), "build", "-"];
    const piped = await user.run(command, { input: "FROM scratch\nLABEL a=b\n" });
    expect(piped).toMatchObject({ code: 0 });
  });
});
