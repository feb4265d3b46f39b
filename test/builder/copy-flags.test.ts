import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";

const read = (path: string): string => readFileSync(path, "utf8");
const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);
const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;
const built = async (lab: Lab, containerfile: string): Promise<string> =>
  lab.extract(await lab.build(containerfile), containerfile);

/** All files below a directory, without directories, sorted. */
function filesOf(dir: string): readonly string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .toSorted();
}

function writeTree(lab: Lab): void {
  const names = ["a.txt", "b.go", "s/a.txt", "s/b.go", "s/t/a.txt", "s/t/c.go", "s/u/v/w.txt", "s/u/x.go"];
  lab.write(Object.fromEntries(names.map((name) => [name, name])));
}

describe("--exclude", () => {
  test.each([
    [["*.txt"], "s", ["b.go", "t/a.txt", "t/c.go", "u/v/w.txt", "u/x.go"]],
    [["**/*.txt"], "s", ["b.go", "t/c.go", "u/x.go"]],
    [["s/a.txt", "/a.txt"], "s", ["a.txt", "b.go", "t/a.txt", "t/c.go", "u/v/w.txt", "u/x.go"]],
    [["t/", "u"], "s", ["a.txt", "b.go"]],
    [["*", "!t"], "s", ["t/a.txt", "t/c.go"]],
    [["**", "!**/*.go"], "s", ["b.go", "t/c.go", "u/x.go"]],
    [["u", "!u/v"], "s", ["a.txt", "b.go", "t/a.txt", "t/c.go", "u/v/w.txt"]],
    [["s/t", "s/u"], ".", ["a.txt", "b.go", "busybox", "s/a.txt", "s/b.go"]],
    [["$V*"], "s", ["a.txt", "b.go", "t/a.txt", "t/c.go", "u/v/w.txt", "u/x.go"]],
    // The patterns are about what a directory holds: a file that is named is copied.
    [["a.txt"], "a.txt s/*", ["a.txt", "b.go", "c.go", "v/w.txt", "x.go"]],
  ])("%j of %s", async (patterns, sources, expected) => {
    await using lab = await openLab();
    writeTree(lab);
    const flags = patterns.map((pattern) => `--exclude=${pattern}`).join(" ");
    const out = await built(
      lab,
      `FROM scratch\nARG V=b\nCOPY ${flags} ${sources} /x/\nADD ${flags} ${sources} /y/\n`,
    );
    expect(filesOf(join(out, "x"))).toEqual(expected);
    expect(filesOf(join(out, "y"))).toEqual(expected);
  });

  test("leaves out directories that only hold what is hidden by name, keeps those that just became empty", async () => {
    await using lab = await openLab();
    writeTree(lab);
    const out = await built(
      lab,
      "FROM scratch\nCOPY --exclude=** --exclude=!t/c.go s /one\nCOPY --exclude=**/*.* s /two\nCOPY --exclude=* s /three\n",
    );
    expect([readdirSync(join(out, "one")), filesOf(join(out, "one"))]).toEqual([["t"], ["t/c.go"]]);
    expect(readdirSync(join(out, "two"), { recursive: true, encoding: "utf8" }).toSorted()).toEqual([
      "t",
      "u",
      "u/v",
    ]);
    expect(readdirSync(join(out, "three"))).toEqual([]);
  });

  test("a change of what is excluded is no change, also with --from", async () => {
    await using lab = await openLab();
    writeTree(lab);
    const containerfile =
      "FROM scratch AS s\nCOPY . /\nFROM scratch\nCOPY --exclude=t s /x/\nCOPY --from=s --exclude=t /s /y/\n";
    const out = await built(lab, containerfile);
    expect(filesOf(join(out, "y"))).toEqual(["a.txt", "b.go", "u/v/w.txt", "u/x.go"]);
    lab.write({ "s/t/a.txt": "changed" });
    const again = await lab.build(containerfile);
    expect(again.cached).toContain("COPY --exclude=t s /x/");
    expect(again.cached).toContain("COPY --from=s --exclude=t /s /y/");
    lab.write({ "s/u/x.go": "changed" });
    expect((await lab.build(containerfile)).built).toContain("COPY --exclude=t s /x/");
  });
});

describe("--parents", () => {
  test.each([
    ["./s/a.txt ./s/t/c.go", ["s/a.txt", "s/t/c.go"]],
    ["s/./t/c.go", ["t/c.go"]],
    ["./s/./t", ["t/a.txt", "t/c.go"]],
    ["s/t", ["s/t/a.txt", "s/t/c.go"]],
    ["**/c.go", ["s/t/c.go"]],
    ["s/**/*.go", ["s/b.go", "s/t/c.go", "s/u/x.go"]],
    ["s/*/*.go", ["s/t/c.go", "s/u/x.go"]],
    ["*/./*.go", ["b.go"]],
    ["s/./**/*.txt", ["a.txt", "t/a.txt", "u/v/w.txt"]],
    ["/s/../a.txt", ["a.txt"]],
    ["s/./ b.go", ["a.txt", "b.go", "t/a.txt", "t/c.go", "u/v/w.txt", "u/x.go"]],
    ["--exclude=**/t s/**/*.go", ["s/b.go", "s/u/x.go"]],
    ["--exclude=t s/./**/*.go", ["b.go", "u/x.go"]],
    ["--from=stage /s/./u", ["u/v/w.txt", "u/x.go"]],
  ])("%s", async (text, expected) => {
    await using lab = await openLab();
    writeTree(lab);
    const containerfile = `FROM scratch AS stage\nCOPY s /s\nFROM scratch\nCOPY --parents ${text} /x\n`;
    expect(filesOf(join(await built(lab, containerfile), "x"))).toEqual(expected);
  });

  test("parents keep their modes and owners, --chown and --chmod are theirs too, none is made for nothing", async () => {
    await using lab = await openLab();
    writeTree(lab);
    chmodSync(join(lab.context, "s"), 0o700);
    chmodSync(join(lab.context, "s/t"), 0o751);
    const out = await built(
      lab,
      "FROM scratch\nCOPY --parents s/t/c.go /x/\nCOPY --parents --chown=5:6 --chmod=u=rwX,go= s/t/c.go /y/\n",
    );
    expect([mode(join(out, "x/s")), mode(join(out, "x/s/t")), owner(join(out, "x/s"))]).toEqual([
      "700",
      "751",
      "0:0",
    ]);
    expect([mode(join(out, "y/s/t")), mode(join(out, "y/s/t/c.go"))]).toEqual(["700", "600"]);
    expect([owner(join(out, "y/s")), owner(join(out, "y/s/t/c.go"))]).toEqual(["5:6", "5:6"]);
    expect(readdirSync(join(out, "x/s"))).toEqual(["t"]);
  });

  test("a name without wildcards must be there", async () => {
    await using lab = await openLab();
    writeTree(lab);
    for (const text of ["s/nope", "nope/./a", "s/./nope", "no*/x"])
      await expect(lab.build(`FROM scratch\nCOPY --parents ${text} /x\n`)).rejects.toMatchObject({
        code: "not-found",
        where: "Containerfile:2:1",
      });
  });
});

describe("--link", () => {
  const onBase = (lines: string): string => `FROM scratch\nCOPY base /\nWORKDIR /wd\n${lines}\n`;

  function writeBase(lab: Lab): void {
    lab.write({ a: "a", "d/sub/f": "f", "base/tmp/old": "old", "base/usr/lib/x": "x", "base/v": "1" });
    lab.write({ "base/etc/passwd": "bob:x:77:88::/:\n", "base/etc/group": "grp:x:99:\n" });
    chmodSync(join(lab.context, "base/tmp"), 0o1777);
    symlinkSync("usr/lib", join(lab.context, "base/lib"));
  }

  test("a changed base rebuilds nothing of it, and its layer is the same", async () => {
    await using lab = await openLab();
    writeBase(lab);
    const lines = "COPY --link --chown=5:6 a /opt/tool/\nADD --link=true d rel/";
    const before = await lab.build(onBase(lines));
    lab.write({ "base/v": "2" });
    const after = await lab.build(onBase(lines));
    expect(after.built).toEqual(["COPY base /", "WORKDIR /wd"]);
    expect(after.cached).toEqual(lines.split("\n"));
    const layers = (build: typeof before): readonly string[] => build.result.config.rootfs.diff_ids;
    expect(layers(after).slice(2)).toEqual(layers(before).slice(2));
    expect(layers(after)[0]).not.toBe(layers(before)[0]);
    const out = await lab.extract(after, onBase(lines));
    expect([
      owner(join(out, "opt")),
      owner(join(out, "opt/tool/a")),
      read(join(out, "wd/rel/sub/f")),
    ]).toEqual(["5:6", "5:6", "f"]);
    lab.write({ a: "changed" });
    expect((await lab.build(onBase(lines))).built).toEqual(["COPY --link --chown=5:6 a /opt/tool/"]);
  });

  test("sees nothing of the image below: links are not followed, directories are new ones", async () => {
    await using lab = await openLab();
    writeBase(lab);
    const out = await built(lab, onBase("COPY --link a /lib/a\nCOPY --link a /tmp/\nCOPY --link a /usr/lib"));
    expect(readdirSync(join(out, "lib"))).toEqual(["a"]);
    expect([mode(join(out, "tmp")), read(join(out, "tmp/old"))]).toEqual(["755", "old"]);
    expect(read(join(out, "usr/lib"))).toBe("a");
  });

  test("--link=false and --chmod follow links as ever", async () => {
    await using lab = await openLab();
    writeBase(lab);
    const out = await built(lab, onBase("COPY --link=false a /lib/a\nCOPY --link --chmod=600 a /lib/b"));
    expect(readdirSync(join(out, "usr/lib"))).toEqual(["a", "b", "x"]);
    expect([mode(join(out, "usr/lib/b")), lstatSync(join(out, "lib")).isSymbolicLink()]).toEqual([
      "600",
      true,
    ]);
  });

  test("names of --chown are those of the image below, and then it counts", async () => {
    await using lab = await openLab();
    writeBase(lab);
    const containerfile = onBase("COPY --link --chown=bob:grp a /x/");
    const out = await built(lab, containerfile);
    expect([owner(join(out, "x")), owner(join(out, "x/a"))]).toEqual(["77:99", "77:99"]);
    lab.write({ "base/etc/passwd": "bob:x:78:88::/:\n" });
    expect(owner(join(await built(lab, containerfile), "x/a"))).toBe("78:99");
  });

  test("a RUN after it sees the layer on top of the others", async () => {
    await using lab = await openLab();
    lab.write({ a: "linked" });
    const { output } = await lab.build(
      `${BUSYBOX_BASE}COPY --link a /bin/../new/a\nRUN cat /new/a; ls /bin/sh\n`,
    );
    expect(output).toBe("linked/bin/sh\n");
  });
});

describe("--chown", () => {
  test.each([
    ["bob", "77:88"],
    ["bob:", "77:0"],
    ["bob:grp", "77:99"],
    [":grp", "0:99"],
    [":7", "0:7"],
    ["7:", "7:0"],
    ["7", "7:7"],
    ["$U:${G}", "77:99"],
    ["root:root", "0:0"],
    ["", "0:0"],
  ])("%j", async (text, expected) => {
    await using lab = await openLab();
    lab.write({
      a: "a",
      "base/real/users": "bad\n:x:9:9::/:\nbob:x:77:88::/:\n",
      "base/etc/group": "grp:x:99:",
    });
    symlinkSync("/real/users", join(lab.context, "base/etc/passwd"));
    const out = await built(
      lab,
      `FROM scratch\nCOPY base /\nARG U=bob\nARG G=grp\nCOPY --chown=${text} a /n/a\n`,
    );
    expect([owner(join(out, "n")), owner(join(out, "n/a"))]).toEqual([expected, expected]);
  });

  test("numbers need no file of the image", async () => {
    await using lab = await openLab();
    lab.write({ a: "a", "base/etc/x": "" });
    symlinkSync("passwd", join(lab.context, "base/etc/passwd"));
    expect(owner(join(await built(lab, "FROM scratch\nCOPY base /\nCOPY --chown=7:8 a /a\n"), "a"))).toBe(
      "7:8",
    );
  });
});

describe("sources and destinations", () => {
  test("a wildcard may match nothing beside something else, but not alone", async () => {
    await using lab = await openLab();
    lab.write({ "package.json": "{}" });
    const out = await built(lab, "FROM scratch\nCOPY package.json *.lock /app/\n");
    expect(filesOf(join(out, "app"))).toEqual(["package.json"]);
    await expect(lab.build("FROM scratch\nCOPY *.lock yarn.* /app/\n")).rejects.toMatchObject({
      code: "not-found",
      message: 'COPY: "*.lock" is not in the build context',
    });
  });

  test("links are followed before the first wildcard and not after it", async () => {
    await using lab = await openLab();
    lab.write({ "d/1": "d", "e/1": "e" });
    symlinkSync("d", join(lab.context, "l"));
    const out = await built(lab, "FROM scratch\nCOPY l/? /one/\nCOPY [de]/1 ?/1* /two/\n");
    expect(read(join(out, "one/1"))).toBe("d");
    expect(read(join(out, "two/1"))).toBe("e");
    await expect(lab.build("FROM scratch\nCOPY l*/1 /x\n")).rejects.toThrow(/"l\*\/1" is not in/);
  });

  test("a directory that is there gets the time of the one whose contents are copied", async () => {
    await using lab = await openLab();
    lab.write({ "base/d/x": "x", "new/y": "y" });
    utimesSync(join(lab.context, "new"), 1_000_000_000, 1_000_000_000);
    const out = await built(lab, "FROM scratch\nCOPY base /\nCOPY new /d\n");
    expect(lstatSync(join(out, "d")).mtimeMs).toBe(1_000_000_000_000);
    expect(existsSync(join(out, "d/x"))).toBe(true);
  });
});

describe("before the first step", () => {
  test.each([
    ["COPY --chmod=9 a /x", "2:6", /--chmod=9/],
    ["COPY --chmod=u+q a /x", "2:6", /--chmod=u\+q/],
    ["COPY --chown=99999999999 a /x", "2:6", /invalid user or group id/],
    ["ADD --exclude=a --exclude=[ a /x", "2:17", /--exclude=\[: not a valid pattern/],
    ["COPY a[ /x", "2:6", /not a valid pattern/],
  ])("%s", async (line, place, message) => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    const started: string[] = [];
    const failing = lab.build(`FROM scratch\n${line}\n`, { onEvent: ({ type }) => started.push(type) });
    await expect(failing).rejects.toThrow(message);
    await expect(failing).rejects.toMatchObject({ where: `Containerfile:${place}` });
    expect(started).toEqual([]);
  });
});
