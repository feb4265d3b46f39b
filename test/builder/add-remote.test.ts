import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";
import { openSite } from "../support/site.js";

const sha256 = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;
const read = (path: string): string => readFileSync(path, "utf8");
/** The texts of all files below a directory. */
const textsIn = (dir: string): readonly string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
const shape = (path: string): readonly unknown[] => {
  const { mode, uid, gid, mtimeMs } = lstatSync(path);
  return [(mode & 0o7777).toString(8), `${uid}:${gid}`, mtimeMs / 1000];
};
const built = async (lab: Lab, containerfile: string): Promise<string> =>
  lab.extract(await lab.build(containerfile), containerfile);

describe("ADD of a URL", () => {
  test("is a file of root's alone, with the time of Last-Modified or the epoch, under the name in the URL", async () => {
    await using lab = await openLab();
    await using site = await openSite();
    lab.write({ local: "local" });
    site.replies.set("/dir/a%20b", { body: "plain" });
    site.replies.set("/dated", {
      body: "dated",
      headers: {
        "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT",
        "content-disposition": 'attachment; filename="../../other"',
      },
    });
    const out = await built(
      lab,
      `FROM scratch\nARG HOST=${site.url}\nADD ${site.url}/dir/a%20b $HOST/dated?x=1 local /x/\nADD --chmod=g+rX --chown=5:6 ${site.url}/dated /y\n`,
    );
    expect(readdirSync(join(out, "x"))).toEqual(["a b", "dated", "local"]);
    expect([read(join(out, "x/a b")), shape(join(out, "x/a b"))]).toEqual(["plain", ["600", "0:0", 0]]);
    expect(shape(join(out, "x/dated"))).toEqual(["600", "0:0", 1_000_000_000]);
    expect([read(join(out, "y")), shape(join(out, "y"))]).toEqual(["dated", ["640", "5:6", 1_000_000_000]]);
  });

  test("stays cached while the body is the same, whatever its headers and the credentials in the URL", async () => {
    await using lab = await openLab();
    await using site = await openSite();
    site.replies.set("/f", { body: "one" });
    const containerfile = (user: string): string =>
      `FROM scratch\nADD ${site.url.replace("//", `//${user}@`)}/f /f\n`;
    const first = await lab.build(containerfile("me:s3cret-one"));
    site.replies.set("/f", { body: "one", headers: { "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT" } });
    const second = await lab.build(containerfile("me:s3cret-two"));
    expect([first.built.length, second.cached.length]).toEqual([1, 1]);
    site.replies.set("/f", { body: "two" });
    const third = await lab.build(containerfile("me:s3cret-two"));
    expect([...third.reasons.values()]).toEqual([expect.stringMatching(/\/f changed$/)]);
    expect(JSON.stringify([first, second, third])).not.toContain("s3cret");
    for (const kept of ["cache/v1", "images", "blobs", "refs"].flatMap((name) =>
      textsIn(join(lab.dir, "root", name)),
    ))
      expect(kept).not.toContain("s3cret");
  });

  test("is unpacked only with --unpack, a local archive only without --unpack=false", async () => {
    await using lab = await openLab();
    await using site = await openSite();
    mkdirSync(join(lab.dir, "in"));
    writeFileSync(join(lab.dir, "in/f"), "packed");
    const tar = execFileSync("tar", ["-C", lab.dir, "-c", "in"]);
    site.replies.set("/a.tgz", { body: gzipSync(tar) });
    site.replies.set("/plain", { body: "plain" });
    writeFileSync(join(lab.context, "a.tar"), tar);
    const out = await built(
      lab,
      `FROM scratch\nADD ${site.url}/a.tgz /one/\nADD --unpack ${site.url}/a.tgz ${site.url}/plain /two/\nADD --unpack=false a.tar /three/\nADD a.tar /four\n`,
    );
    expect(readdirSync(join(out, "one"))).toEqual(["a.tgz"]);
    expect(readdirSync(join(out, "two")).toSorted()).toEqual(["in", "plain"]);
    expect(readdirSync(join(out, "three"))).toEqual(["a.tar"]);
    expect(read(join(out, "four/in/f"))).toBe("packed");
  });

  test("with --checksum is asked for only when it is not cached, and is the same on any base with --link", async () => {
    await using lab = await openLab();
    await using site = await openSite();
    site.replies.set("/f", { body: "body" });
    lab.write({ base: "1" });
    const containerfile = `FROM scratch\nCOPY base /\nADD --link --checksum=${sha256("body")} ${site.url}/f /d/\n`;
    await lab.build(containerfile);
    lab.write({ base: "2" });
    site.asked.length = 0;
    expect((await lab.build(containerfile)).cached).toHaveLength(1);
    expect(site.asked).toEqual([]);
  });

  test("errors name the place, and say what is wrong", async () => {
    await using lab = await openLab();
    await using site = await openSite();
    site.replies.set("/", { body: "index" });
    const add = (rest: string): Promise<unknown> => lab.build(`FROM scratch\nADD ${rest}\n`);
    await expect(add(`${site.url}/nope /x`)).rejects.toMatchObject({
      code: "not-found",
      where: "Containerfile:2:1",
    });
    await expect(add(`${site.url}/ /x/`)).rejects.toMatchObject({ code: "usage", message: /no file name/ });
    const before: readonly [string, RegExp][] = [
      [`--checksum=sha256:12 ${site.url}/ /x`, /sha256: and 64 hex digits/],
      [`--checksum=${sha256("")} ${site.url}/ ${site.url}/2 /x/`, /one source/],
      [`--checksum=${sha256("")} local /x`, /for URLs and git/],
      [`--checksum=zz ${site.url}/r.git /x`, /commit in hex/],
    ];
    site.asked.length = 0;
    for (const [rest, message] of before) {
      await expect(add(rest)).rejects.toThrow(message);
      await expect(add(rest)).rejects.toMatchObject({ where: "Containerfile:2:5" });
    }
    await expect(lab.build(`FROM scratch\nCOPY ${site.url}/ /x\n`)).rejects.toThrow(/COPY cannot fetch/);
    expect(site.asked).toEqual([]);
  });
});

describe("ADD of a git repository", () => {
  const git = (dir: string, ...args: string[]): string =>
    execFileSync("git", ["-C", dir, "-c", "user.name=n", "-c", "user.email=e", ...args], {
      encoding: "utf8",
    }).trim();

  /** A repository with two commits, the first one tagged v1, as files that any web server can serve. */
  function publish(lab: Lab): { readonly dir: string; readonly work: string; readonly first: string } {
    const work = join(lab.dir, "work");
    const dir = join(lab.dir, "www");
    mkdirSync(join(work, "sub"), { recursive: true });
    mkdirSync(dir);
    git(work, "init", "-q", "-b", "main");
    writeFileSync(join(work, "top"), "one");
    writeFileSync(join(work, "sub/f"), "f");
    writeFileSync(join(work, "run"), "#!/bin/sh\n", { mode: 0o755 });
    git(work, "add", "-A");
    git(work, "commit", "-qm", "one", "--date=2001-02-03T04:05:06Z");
    git(work, "tag", "v1");
    const first = git(work, "rev-parse", "HEAD");
    change(work, "two");
    update(work, dir);
    return { dir, work, first };
  }

  function change(work: string, text: string): void {
    writeFileSync(join(work, "top"), text);
    git(work, "commit", "-qam", text);
  }

  function update(work: string, dir: string): void {
    execFileSync("rm", ["-rf", join(dir, "r.git")]);
    execFileSync("git", ["clone", "-q", "--bare", work, join(dir, "r.git")]);
    git(join(dir, "r.git"), "update-server-info");
  }

  test("takes the ref's tree, or a directory of it, as root's, without .git unless it is wanted", async () => {
    await using lab = await openLab();
    const { dir, first } = publish(lab);
    await using site = await openSite(dir);
    const repository = `${site.url}/r.git`;
    const out = await built(
      lab,
      `FROM scratch
ADD ${repository} /head
ADD ${repository}#v1 /v1/
ADD ${repository}#v1:sub /sub
ADD --keep-git-dir=true --checksum=${first.slice(0, 9)} ${repository}#v1 /kept
ADD --exclude=sub --chown=5:6 --link ${repository}#main /some
`,
    );
    expect(readdirSync(join(out, "head")).toSorted()).toEqual(["run", "sub", "top"]);
    expect([read(join(out, "head/top")), read(join(out, "v1/top"))]).toEqual(["two", "one"]);
    expect(readdirSync(join(out, "sub"))).toEqual(["f"]);
    expect(readdirSync(join(out, "kept")).toSorted()).toEqual([".git", "run", "sub", "top"]);
    expect(readdirSync(join(out, "some")).toSorted()).toEqual(["run", "top"]);
    expect(shape(join(out, "v1/run")).slice(0, 2)).toEqual(["755", "0:0"]);
    expect(shape(join(out, "v1/top")).slice(0, 2)).toEqual(["644", "0:0"]);
    expect(shape(join(out, "some/top")).slice(0, 2)).toEqual(["644", "5:6"]);
  });

  test("is cached while the ref means the same commit", async () => {
    await using lab = await openLab();
    const { dir, work } = publish(lab);
    await using site = await openSite(dir);
    const containerfile = `FROM scratch\nADD ${site.url}/r.git#v1 /v1\nADD ${site.url}/r.git#main /main\n`;
    await lab.build(containerfile);
    expect((await lab.build(containerfile)).cached).toHaveLength(2);
    change(work, "three");
    update(work, dir);
    const moved = await lab.build(containerfile);
    expect([moved.cached.length, moved.built]).toEqual([1, [`ADD ${site.url}/r.git#main /main`]]);
    expect(read(join(await lab.extract(moved, containerfile), "main/top"))).toBe("three");
  });

  test("refuses another commit than --checksum says, and a directory that is not there", async () => {
    await using lab = await openLab();
    const { dir, first } = publish(lab);
    await using site = await openSite(dir);
    const add = (rest: string): Promise<unknown> => lab.build(`FROM scratch\nADD ${rest} /x\n`);
    await expect(add(`--checksum=${first} ${site.url}/r.git#main`)).rejects.toMatchObject({
      code: "corrupt",
      where: "Containerfile:2:1",
    });
    await expect(add(`${site.url}/r.git#v1:nope`)).rejects.toMatchObject({ code: "not-found" });
    await expect(add(`${site.url}/r.git#nope`)).rejects.toMatchObject({ code: "not-found" });
  });
});
