import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import type { BuildOptions, Cooper } from "../../src/index.js";
import { failureOf, startServer } from "../fetch/room.js";
import { startGitServer } from "../support/git-server.js";
import { describeWith } from "../support/packages.js";
import { openSite } from "../support/site.js";
import { forgeTar } from "../support/tar-forge.js";
import { openUsers } from "./users.js";

const COPY_ALL = "FROM scratch\nCOPY . /x\n";

let dir: string;
let contextDir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-texts-"));
  contextDir = join(dir, "context");
  mkdirSync(contextDir);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function withCooper<T>(work: (cooper: Cooper) => Promise<T>): Promise<T> {
  await using cooper = await openCooper({ root: join(dir, "root") });
  return work(cooper);
}

async function filesOf(options: BuildOptions): Promise<readonly string[]> {
  const dest = mkdtempSync(join(dir, "out-"));
  await withCooper(async (cooper) => cooper.build({ ...options, outputs: [{ type: "local", dest }] }));
  return (readdirSync(dest, { recursive: true }) as string[]).toSorted();
}

/** The labels of the image. */
async function labelsOf(options: BuildOptions): Promise<unknown> {
  return withCooper(async (cooper) => (await cooper.build(options)).config.config?.Labels);
}

/** Where a build finds its error. */
async function whereOf(options: BuildOptions): Promise<string | undefined> {
  return (await failureOf(withCooper(async (cooper) => cooper.build(options)))).where;
}

describeWith(["root"], "-f URL", () => {
  test("is fetched; the ignore file is that of the context", async () => {
    await using site = await openSite();
    site.replies.set("/Containerfile", { body: COPY_ALL });
    site.replies.set("/Containerfile.dockerignore", { body: "b\n" });
    for (const name of ["a", "b"]) writeFileSync(join(contextDir, name), "");
    writeFileSync(join(contextDir, ".dockerignore"), "a\n.dockerignore\n");
    expect(await filesOf({ contextDir, file: `${site.url}/Containerfile` })).toEqual(["x", "x/b"]);
    expect(site.asked).toEqual(["/Containerfile"]);
  });

  test("is joined with files and text, and errors name it without what may be secret", async () => {
    await using site = await openSite();
    site.replies.set("/c", { body: "LABEL c=1\n" });
    site.replies.set("/bad", { body: "LABEL c=1\nNONSENSE\n" });
    writeFileSync(join(contextDir, "first"), "FROM scratch\nLABEL a=1\n");
    const [url, bad] = ["c", "bad"].map(
      (name) => `${site.url.replace("//", "//me:canary@")}/${name}?token=canary`,
    );
    const options = { contextDir, containerfile: "LABEL b=1\n" };
    expect(await labelsOf({ ...options, file: ["first", "-", url ?? ""] })).toEqual({
      a: "1",
      b: "1",
      c: "1",
    });
    expect(await whereOf({ ...options, file: ["first", bad ?? "", "-"] })).toBe(`${site.url}/bad:2:1`);
  });

  test("that cannot be had, or is too large, is told", async () => {
    await using server = await startServer((request, response) => {
      if (request.url === "/missing") return void response.writeHead(404).end();
      response.writeHead(200, { "content-length": String(65 * 1024 * 1024) }).write("FROM scratch\n");
    });
    const failure = async (path: string) =>
      failureOf(withCooper((cooper) => cooper.build({ contextDir, file: `${server.url}${path}` })));
    expect(await failure("/missing")).toMatchObject({ code: "not-found" });
    expect((await failure("/large")).message).toBe(
      `cannot fetch ${server.url}/large: it is larger than 67108864 bytes`,
    );
  });

  test("is linted, but cannot be mended", async () => {
    await using site = await openSite();
    site.replies.set("/Containerfile", { body: "FROM scratch as a\n" });
    const file = `${site.url}/Containerfile`;
    const { source, diagnostics } = await withCooper((cooper) => cooper.lint({ file }));
    expect([source.name, diagnostics.length]).toEqual([file, 1]);
    const fixing = await failureOf(withCooper((cooper) => cooper.lint({ file, fix: true })));
    expect(fixing).toMatchObject({ code: "usage" });
  });
});

describeWith(["git", "root"], "a context that is fetched, and several Containerfiles", () => {
  test("files come from the context, stdin and URLs, joined in order", async () => {
    await using site = await openSite();
    site.replies.set("/c", { body: "LABEL c=1\n" });
    await using server = await startGitServer();
    server
      .repository("r")
      .commit({ first: "FROM scratch\nLABEL a=1\n", "sub/bad": "LABEL d=1\n\nNONSENSE\n" });
    const context = `${server.url}/r.git`;
    const given = { context, containerfile: "LABEL b=1\n" };
    const all = ["first", "-", `${site.url}/c`];
    expect(await labelsOf({ ...given, file: all })).toEqual({ a: "1", b: "1", c: "1" });
    expect(await whereOf({ ...given, file: [...all, "sub/bad"] })).toBe("sub/bad:3:1");
    expect(await whereOf({ context, containerfile: "\nNONSENSE\n", file: ["first", "-"] })).toBe("stdin:2:1");
    const missing = await failureOf(
      withCooper((cooper) => cooper.build({ context, file: ["first", "../first2"] })),
    );
    expect(missing).toMatchObject({ code: "not-found" });
    expect(missing.message).toBe("there is no Containerfile ../first2 in the build context");
  });

  test("-f - alone is the Containerfile of an archive and of a repository", async () => {
    await using server = await startGitServer();
    server.repository("r").commit({ f: "1", Containerfile: "FROM scratch\n" });
    const archive = forgeTar([{ name: "f", content: "x" }]);
    const given = { containerfile: COPY_ALL, file: "-" };
    expect(await filesOf({ ...given, context: `${server.url}/r.git` })).toEqual([
      "x",
      "x/Containerfile",
      "x/f",
    ]);
    expect(await filesOf({ ...given, context: Readable.from([archive]) })).toEqual(["x", "x/f"]);
  });
});

describeWith(["root", "newuidmap", "unshare"], "as an ordinary user", () => {
  test("-f URL is fetched by the command, once, and built by its engine", async () => {
    using users = openUsers();
    const user = users.add({ subordinateIds: true });
    await using site = await openSite();
    site.replies.set("/Containerfile", { body: "FROM scratch\nCOPY a /\n" });
    mkdirSync(join(user.home, "c"));
    writeFileSync(join(user.home, "c/a"), "");
    const outcome = await user.cooper("build", "-f", `${site.url}/Containerfile`, "c");
    expect(outcome).toMatchObject({ code: 0 });
    expect(site.asked).toEqual(["/Containerfile"]);
  });
});
