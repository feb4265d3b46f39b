import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLab } from "../support/lab.js";

const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);
const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;
const read = (path: string): string => readFileSync(path, "utf8");

describe("COPY", () => {
  test("files, directories and wildcards land where BuildKit puts them", async () => {
    await using lab = await openLab();
    lab.write({ "a.txt": "a", "b.txt": "b", "dir/sub/c.txt": "c", "dir/d.sh": { text: "d", mode: 0o755 } });
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY a.txt /x\n"),
      `FROM scratch
COPY a.txt /file
COPY a.txt /into/
COPY a.txt b.txt /both/
COPY *.txt /wild/
COPY dir /contents
COPY ["a.txt", "/json name/"]
WORKDIR /work
COPY a.txt .
COPY b.txt sub/renamed
`,
    );
    expect(read(join(out, "file"))).toBe("a");
    expect(read(join(out, "into/a.txt"))).toBe("a");
    expect(readdirSync(join(out, "both"))).toEqual(["a.txt", "b.txt"]);
    expect(readdirSync(join(out, "wild"))).toEqual(["a.txt", "b.txt"]);
    expect(read(join(out, "contents/sub/c.txt"))).toBe("c");
    expect(mode(join(out, "contents/d.sh"))).toBe("755");
    expect(read(join(out, "json name/a.txt"))).toBe("a");
    expect(read(join(out, "work/a.txt"))).toBe("a");
    expect(read(join(out, "work/sub/renamed"))).toBe("b");
    expect(mode(join(out, "work"))).toBe("755");
  });

  test("--chown and --chmod, by number and by name of the image's own users", async () => {
    await using lab = await openLab();
    lab.write({
      "a.txt": "a",
      "d/run.sh": { text: "x", mode: 0o744 },
      passwd: "bob:x:1000:1001::/:/bin/sh\n",
      group: "web:x:33:\n",
    });
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY a.txt /x\n"),
      `FROM scratch
COPY passwd group /etc/
COPY --chown=bob a.txt /bob
COPY --chown=bob:web a.txt /bobweb
COPY --chown=7 a.txt /seven
COPY --chown=8:9 --chmod=4711 a.txt /both
COPY --chmod=u=rwX,go= d /private/
`,
    );
    expect(owner(join(out, "bob"))).toBe("1000:1001");
    expect(owner(join(out, "bobweb"))).toBe("1000:33");
    expect(owner(join(out, "seven"))).toBe("7:7");
    expect([owner(join(out, "both")), mode(join(out, "both"))]).toEqual(["8:9", "4711"]);
    expect(mode(join(out, "private/run.sh"))).toBe("700");
  });

  test("--from a stage keeps owners, modes, times, links and hard links", async () => {
    await using lab = await openLab();
    lab.write({ "t/one": { text: "1", mode: 0o640 }, "t/x/two": "2" });
    linkSync(join(lab.context, "t/one"), join(lab.context, "t/x/hard"));
    symlinkSync("../one", join(lab.context, "t/x/link"));
    utimesSync(join(lab.context, "t/one"), 1_600_000_000, 1_600_000_000.5);
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY t /x\n"),
      "FROM scratch AS a\nCOPY --chown=5:6 t /t\nFROM scratch\nCOPY --from=a /t /u\nCOPY --from=0 /t/x/two /two\n",
    );
    expect([owner(join(out, "u/one")), mode(join(out, "u/one"))]).toEqual(["5:6", "640"]);
    expect(lstatSync(join(out, "u/one")).mtimeMs).toBe(1_600_000_000_500);
    expect(readlinkSync(join(out, "u/x/link"))).toBe("../one");
    expect(read(join(out, "u/x/hard"))).toBe("1");
    expect(read(join(out, "two"))).toBe("2");
  });

  test("C11: a source link never leaves the context", async () => {
    await using lab = await openLab();
    const outside = join(lab.dir, "outside");
    mkdirSync(outside);
    lab.write({ "../outside/secret": "host secret", "ok/inner": "in" });
    symlinkSync(join(outside, "secret"), join(lab.context, "f"));
    symlinkSync(outside, join(lab.context, "dir"));
    symlinkSync("ok", join(lab.context, "inside"));
    for (const source of ["f", "dir/secret", "dir", "../outside/secret"]) {
      await expect(lab.build(`FROM scratch\nCOPY ${source} /x\n`), source).rejects.toThrow(
        /is not in the build context/,
      );
    }
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY ok /y\n"),
      "FROM scratch\nCOPY . /all/\nCOPY inside/inner /i\n",
    );
    expect(readlinkSync(join(out, "all/f"))).toBe(join(outside, "secret"));
    expect(read(join(out, "i"))).toBe("in");
  });

  test("C12: a destination link is followed inside the image's root", async () => {
    await using lab = await openLab();
    const outside = join(lab.dir, "host");
    mkdirSync(outside);
    lab.write({ p: "payload" });
    mkdirSync(join(lab.context, "tree"));
    symlinkSync(outside, join(lab.context, "tree/esc"));
    symlinkSync("../../../../..", join(lab.context, "tree/up"));
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY p /x\n"),
      "FROM scratch\nCOPY tree /\nCOPY p /esc/P\nCOPY p /up/Q\nWORKDIR /esc/w\nCOPY <<E /esc/f\ntext\nE\n",
    );
    expect(readdirSync(outside)).toEqual([]);
    expect(read(join(out, outside, "P"))).toBe("payload");
    expect(read(join(out, "Q"))).toBe("payload");
    expect(read(join(out, outside, "f"))).toBe("text\n");
    expect(lstatSync(join(out, outside, "w")).isDirectory()).toBe(true);
  });

  test("heredocs become files, expanded unless quoted", async () => {
    await using lab = await openLab();
    const out = await lab.extract(
      await lab.build("FROM scratch\nCOPY <<A /x\nA\n"),
      "FROM scratch\nENV WHO=world\nCOPY <<one <<'two' /d/\nhello $WHO\none\nhello $WHO\ntwo\nCOPY --chmod=755 <<-EOF /run.sh\n\t#!/bin/sh\n\techo\nEOF\n",
    );
    expect(read(join(out, "d/one"))).toBe("hello world\n");
    expect(read(join(out, "d/two"))).toBe("hello $WHO\n");
    expect(read(join(out, "run.sh"))).toBe("#!/bin/sh\necho\n");
    expect(mode(join(out, "run.sh"))).toBe("755");
  });

  test("existing directories keep their metadata; a file cannot replace one", async () => {
    await using lab = await openLab();
    lab.write({ a: "a", "t/x": "x", "r/tmp/y": "y" });
    chmodSync(join(lab.context, "r/tmp"), 0o1777);
    const base = "FROM scratch\nCOPY r /\n";
    const out = await lab.extract(await lab.build(base), `${base}COPY a /tmp/a\nCOPY t /tmp/\n`);
    expect(mode(join(out, "tmp"))).toBe("1777");
    await expect(lab.build(`${base}COPY t /d/sub\nCOPY a /d\nCOPY t /d/a\n`)).rejects.toThrow(
      /not a directory|cannot/,
    );
  });

  test("a name that would be a whiteout is refused by its name", async () => {
    await using lab = await openLab();
    lab.write({ "d/.wh.etc": "" });
    await expect(lab.build("FROM scratch\nCOPY d /\n")).rejects.toThrow(/\.wh\.etc.*deletion/);
  });
});

describe("bad COPY", () => {
  test.each([
    ["COPY nope /x", /"nope" is not in the build context/],
    ["COPY *.nope /x/", /"\*\.nope" is not in the build context/],
    ["COPY a b /x", /several files would become the one file \/x/],
    ["COPY --chown=ghost a /x", /user "ghost" is not in the image/],
    ["COPY --chmod=9 a /x", /--chmod=9/],
    ["COPY --from=later a /x\nFROM scratch AS later\nCOPY --from=0 a /x", /stages before it/],
    ["COPY --from=7 a /x", /no stage 7/],
  ])("%s", async (line, message) => {
    await using lab = await openLab();
    lab.write({ a: "a", b: "b" });
    const failure = lab.build(`FROM scratch\n${line}\n`);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({
      name: "CooperError",
      where: expect.stringMatching(/^Containerfile:2:\d+$/),
    });
  });

  test("a source that the ignore file hides says so", async () => {
    await using lab = await openLab();
    lab.write({ "secret.txt": "s", ".containerignore": "*.txt\n" });
    await expect(lab.build("FROM scratch\nCOPY secret.txt /\n")).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("ignore file"),
    });
  });
});
