import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Lab } from "../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);
const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;
const read = (path: string): string => readFileSync(path, "utf8");

async function built(lab: Lab, containerfile: string): Promise<string> {
  return lab.extract(await lab.build("FROM scratch\nENV A=1\n"), containerfile);
}

/** A context directory `t` with a merged /usr, a link to a file and one that leads nowhere. */
function writeTree(lab: Lab): void {
  lab.write({ a: "new", "t/usr/lib/libc": "c", "t/etc/passwd": "users", "t/dir/old": "old" });
  symlinkSync("usr/lib", join(lab.context, "t/lib"));
  symlinkSync("/etc/passwd", join(lab.context, "t/link"));
  symlinkSync("/nowhere/x", join(lab.context, "t/dangling"));
}

function tarOf(lab: Lab, name: string, make: (dir: string) => void, ...members: string[]): void {
  const dir = join(lab.dir, `tar-${name}`);
  mkdirSync(dir);
  make(dir);
  execFileSync("tar", ["-C", dir, "-cf", join(lab.context, name), ...members]);
}

describe("where COPY writes", () => {
  test("a directory made for the destination gets 0755 or the bits of --chmod, and the owner of --chown, not the source's", async () => {
    await using lab = await openLab();
    lab.write({ "d/sub/f": "f" });
    chmodSync(join(lab.context, "d"), 0o700);
    chmodSync(join(lab.context, "d/sub"), 0o750);
    const out = await built(
      lab,
      `FROM scratch AS s
COPY --chown=5:6 --chmod=711 d /one/
FROM scratch
COPY d /plain
COPY --chown=7:8 d /owned/deep
COPY --from=s / /from
COPY --from=s /one /from/new
`,
    );
    expect([mode(join(out, "plain")), mode(join(out, "plain/sub"))]).toEqual(["755", "750"]);
    expect([owner(join(out, "owned")), owner(join(out, "owned/deep"))]).toEqual(["7:8", "7:8"]);
    expect([owner(join(out, "from/new")), mode(join(out, "from/new"))]).toEqual(["0:0", "755"]);
    expect([owner(join(out, "from/one")), mode(join(out, "from/one"))]).toEqual(["5:6", "711"]);
    expect([owner(join(out, "from/new/sub")), mode(join(out, "from/new/sub"))]).toEqual(["5:6", "711"]);
  });

  test.each([
    ["711", "711", "711"],
    ["666", "644", "666"],
    ["7777", "755", "7777"],
    ["go-rx", "755", "600"],
  ])("--chmod=%s gives directories on the way %s and the file %s", async (chmod, way, file) => {
    await using lab = await openLab();
    lab.write({ f: "f" });
    const out = await built(lab, `FROM scratch\nCOPY --chmod=${chmod} f /new/deep/\n`);
    const modes = ["new", "new/deep", "new/deep/f"].map((path) => mode(join(out, path)));
    expect(modes).toEqual([way, way, file]);
  });

  test.each([
    ["bob", "77:88"],
    ["bob:grp", "77:99"],
    ["77", "77:77"],
    ["5:6", "5:6"],
    ["bob:nosuch", "77:88"],
    ["nosuch", "0:0"],
    ["nosuch:grp", "0:99"],
  ])("WORKDIR after USER %s makes directories of %s", async (user, expected) => {
    await using lab = await openLab();
    lab.write({ "base/etc/passwd": "bob:x:77:88::/:\n", "base/etc/group": "grp:x:99:\n" });
    const out = await built(lab, `FROM scratch\nCOPY base /\nUSER ${user}\nWORKDIR /etc/new/deep\n`);
    const owners = ["etc", "etc/new", "etc/new/deep"].map((path) => owner(join(out, path)));
    expect(owners).toEqual(["0:0", expected, expected]);
  });

  test("a link that has the name of a copied file is replaced, a link that is the destination is followed", async () => {
    await using lab = await openLab();
    writeTree(lab);
    lab.write({ link: "mine", "u/link": "other" });
    const base = "FROM scratch\nCOPY t /\n";
    const out = await built(lab, `${base}COPY link /\nCOPY a /dangling\n`);
    expect(lstatSync(join(out, "link")).isFile()).toBe(true);
    expect(read(join(out, "link"))).toBe("mine");
    expect(read(join(out, "etc/passwd"))).toBe("users");
    expect(read(join(out, "nowhere/x"))).toBe("new");
    expect(readlinkSync(join(out, "dangling"))).toBe("/nowhere/x");
    const through = await built(lab, `${base}COPY a /link\nCOPY a /lib/\n`);
    expect(read(join(through, "etc/passwd"))).toBe("new");
    expect(read(join(through, "usr/lib/a"))).toBe("new");
    expect(read(join(await built(lab, `${base}COPY u /\n`), "link"))).toBe("other");
  });

  test("a wildcard with several matches needs a directory, which may be there without a slash", async () => {
    await using lab = await openLab();
    lab.write({ "a.txt": "a", "b.txt": "b", "t/dir/x": "x", "da/1": "1", "db/2": "2" });
    const out = await built(lab, "FROM scratch\nCOPY t /\nCOPY *.txt /dir\nCOPY d? /both\n");
    expect(readdirSync(join(out, "dir"))).toEqual(["a.txt", "b.txt", "x"]);
    expect(readdirSync(join(out, "both"))).toEqual(["1", "2"]);
    await expect(lab.build("FROM scratch\nCOPY *.txt /new\n")).rejects.toMatchObject({
      code: "usage",
      where: "Containerfile:2:1",
      message: 'several files would become the one file /new: for a directory, end it with "/"',
    });
    const several = await built(lab, "FROM scratch\nCOPY t /\nCOPY a.txt b.txt /dir\nCOPY da db /merged\n");
    expect(readdirSync(join(several, "dir"))).toEqual(["a.txt", "b.txt", "x"]);
    expect(readdirSync(join(several, "merged"))).toEqual(["1", "2"]);
  });

  test("a source link that leads nowhere is named with its target, also when a wildcard matched it", async () => {
    await using lab = await openLab();
    lab.write({ "x-file": "x" });
    symlinkSync("gone", join(lab.context, "x-link"));
    for (const word of ["x-link", "x-*"]) {
      await expect(lab.build(`FROM scratch\nCOPY ${word} /d/\n`)).rejects.toMatchObject({
        code: "not-found",
        message: 'COPY: "x-link" is a symbolic link to "gone", which is not in the build context',
        where: "Containerfile:2:1",
      });
    }
  });

  test("hard links stay one file within one source and not across two", async () => {
    await using lab = await openLab();
    lab.write({ "h/a": "1", "h/x": "x" });
    linkSync(join(lab.context, "h/a"), join(lab.context, "h/b"));
    const { output } = await lab.build(
      `${BUSYBOX_BASE}COPY h /one\nCOPY h/a h/b /two/\nCOPY h/* /three/\nRUN stat -c '%n %h' /one/a /two/a /three/b\n`,
    );
    expect(output).toBe("/one/a 2\n/two/a 1\n/three/b 2\n");
  });
});

describe("where ADD unpacks", () => {
  test("parents go through links, the entry itself takes the place of what has its name", async () => {
    await using lab = await openLab();
    writeTree(lab);
    tarOf(
      lab,
      "a.tar",
      (dir) => {
        mkdirSync(join(dir, "lib"));
        mkdirSync(join(dir, "link"));
        writeFileSync(join(dir, "lib/new"), "new");
        writeFileSync(join(dir, "link/inner"), "inner");
        writeFileSync(join(dir, "dir"), "file now");
      },
      "lib/new",
      "link",
      "dir",
    );
    const out = await built(lab, "FROM scratch\nCOPY t /\nADD a.tar /\n");
    expect(read(join(out, "usr/lib/new"))).toBe("new");
    expect(readlinkSync(join(out, "lib"))).toBe("usr/lib");
    expect(read(join(out, "link/inner"))).toBe("inner");
    expect(read(join(out, "dir"))).toBe("file now");
    expect(read(join(out, "etc/passwd"))).toBe("users");
  });

  test("a directory that was replaced and made again holds nothing of before", async () => {
    await using lab = await openLab();
    writeTree(lab);
    tarOf(lab, "a.tar", (dir) => writeFileSync(join(dir, "dir"), "file"), "dir");
    const archive = join(lab.context, "a.tar");
    const later = join(lab.dir, "later");
    mkdirSync(join(later, "dir"), { recursive: true });
    writeFileSync(join(later, "dir/fresh"), "fresh");
    execFileSync("tar", ["-C", later, "-rf", archive, "dir"]);
    const out = await built(lab, "FROM scratch\nCOPY t /\nADD a.tar /\n");
    expect(readdirSync(join(out, "dir"))).toEqual(["fresh"]);
    const { output } = await lab.build(`${BUSYBOX_BASE}COPY t /\nADD a.tar /\nRUN ls /dir\n`);
    expect(output).toBe("fresh\n");
  });

  test("--chown is for the entries too, --chmod is not", async () => {
    await using lab = await openLab();
    const make = (dir: string): void => {
      writeFileSync(join(dir, "f"), "f");
      chmodSync(join(dir, "f"), 0o640);
    };
    tarOf(lab, "a.tar", make, "f");
    const out = await built(lab, "FROM scratch\nADD --chown=7:8 --chmod=755 a.tar /x\n");
    expect([owner(join(out, "x/f")), mode(join(out, "x/f"))]).toEqual(["7:8", "640"]);
    expect([owner(join(out, "x")), mode(join(out, "x"))]).toEqual(["7:8", "755"]);
  });
});

describe("a source that changes while it is copied", () => {
  test.each(["COPY", "ADD"])("%s fails rather than record what the key does not tell of", async (verb) => {
    await using lab = await openLab();
    lab.write({ "d/a": "a", "d/b": "b" });
    const containerfile = `FROM scratch\n${verb} d /d/\n`;
    const change = (): void => {
      rmSync(join(lab.context, "d/b"));
      lab.write({ "d/b": "changed", "d/c": "late" });
    };
    // The miss is told after the files were digested and before they are copied.
    await lab.build(containerfile);
    lab.write({ "d/b": "b2" });
    const failing = lab.build(containerfile, { onEvent: changeOnce("cache-miss", change) });
    await expect(failing).rejects.toMatchObject({ code: "context", where: "Containerfile:2:1" });
    const again = await lab.build(containerfile);
    expect(again.built).toEqual([`${verb} d /d/`]);
    expect(existsSync(join(await lab.extract(again, containerfile), "d/c"))).toBe(true);
  });
});

function changeOnce(type: string, change: () => void): (event: { readonly type: string }) => void {
  let done = false;
  return (event) => {
    if (done || event.type !== type) return;
    done = true;
    change();
  };
}

describe("every error of a step has the instruction's place", () => {
  test.each([
    ["COPY a /f\nWORKDIR /f", 3],
    ["COPY a /f\nWORKDIR /f/g", 3],
    ["COPY a /f/\nCOPY a /f/a/b", 3],
    ['COPY a /f\nRUN ["/nope"]', 3],
    ["COPY --chown=a:b a /f", 2],
    ["COPY a[ /f", 2],
    ["ENV A=${B:?no}", 2],
    ["USER 99999999999\nRUN x", 3],
  ])("%j", async (lines, line) => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    await expect(lab.build(`FROM scratch\n${lines}\n`)).rejects.toMatchObject({
      name: "CooperError",
      where: expect.stringMatching(new RegExp(`^Containerfile:${line}:\\d+$`)),
    });
  });
});
