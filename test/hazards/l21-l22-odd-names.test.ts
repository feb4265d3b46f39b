import { execFileSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import { openCooper } from "../../src/index.js";
import { accepted, attack, entries, failureOf, refused } from "../snapshot/hostile.js";
import { openRoom } from "../snapshot/room.js";
import { forgeImage, forgeOciArchive } from "../support/oci-forge.js";
import { forgeTar } from "../support/tar-forge.js";

describe("L21: names that mean something elsewhere", () => {
  test.each(["C:..\\x", "a\\..\\x", "\\\\host\\share", "con", "x:stream", "..\\..\\x"])(
    "%s is a plain name",
    async (name) => {
      for (const door of Object.values(await attack(() => forgeTar([{ name, content: "x" }]))))
        expect(accepted(door)).toEqual([name]);
    },
  );
});

describe("L22: names, owners and times at the edges", () => {
  test("a name of 255 bytes is kept, one of 256 refused by name", async () => {
    const long = (length: number): Buffer =>
      forgeTar([{ name: "x", pax: { path: `d/${"n".repeat(length)}` } }]);
    expect(accepted((await attack(() => long(255))).layer)).toEqual(["d/", `d/${"n".repeat(255)}`]);
    const { layer, archive } = await attack(() => long(256));
    expect(refused(layer).error).toContain("longer than 255 bytes");
    expect(refused(archive).code).toBe("corrupt");
  });

  test("names of any bytes and of any depth come through every way in as they are", async () => {
    const names = [
      "a\nb",
      "a\tb",
      "\xff\xfe",
      "\u001b[2J",
      " ",
      "-rf",
      "__proto__",
      "*?[x]",
      `${"d/".repeat(700)}leaf`,
    ];
    for (const name of names) {
      const doors = await attack(() =>
        forgeTar([{ name: "x", pax: { path: Buffer.from(name, "latin1") }, content: "x" }]),
      );
      for (const door of [doors.layer, doors.add, doors.context])
        expect(accepted(door).at(-1), JSON.stringify(name.slice(0, 20))).toBe(name);
    }
  });

  test("4,096 levels: ADD keeps them, the other ways in refuse them in a line, and nothing is left of it", async () => {
    const path = `${"d/".repeat(4095)}leaf`;
    const tar = forgeTar([{ name: "x", pax: { path }, content: "x" }]);
    await using room = openRoom({ parent: "/dev/shm" });
    await using cooper = await openCooper({ root: join(room.dir, "other") });
    const archive = join(room.dir, "load.tar");
    writeFileSync(archive, forgeOciArchive(forgeImage({ layers: [tar], name: "deep" })));
    const context = { context: Readable.from([tar]), containerfile: "FROM scratch\nCOPY . /in/\n" };
    const implicit = "4096 directories that have no entry of their own: too many";
    for (const [work, text] of [
      [room.pull(tar), implicit],
      [cooper.load(archive), implicit],
      [cooper.build(context), "file name too long"],
    ] as const) {
      const { name, message } = await failureOf(work);
      expect(name).toBe("CooperError");
      expect(message).toContain(text);
      expect(message).not.toContain("\n");
    }
    expect(readdirSync(join(cooper.root, "layers"))).toEqual([]);
    writeFileSync(join(room.dir, "archive.tar"), tar);
    await cooper.build({ contextDir: room.dir, containerfile: "FROM scratch\nADD archive.tar /\n" });
    const [layer = ""] = readdirSync(join(cooper.root, "layers"));
    const last = `tar -tf '${join(cooper.root, "layers", layer, "tar")}' | tail -n 1`;
    expect(execFileSync("sh", ["-c", last], { encoding: "utf8" })).toBe(`${path}\n`);
    expect(readdirSync(join(cooper.root, "tmp"))).toEqual([]);
  });

  test("a tree too deep for anything is refused", async () => {
    const { layer, archive } = await attack(() =>
      forgeTar([{ name: "x", pax: { path: "d/".repeat(400_000) } }]),
    );
    expect(refused(layer).error).toContain("nested deeper");
    expect(refused(archive).code).toBe("corrupt");
  });

  test("empty names and file names with a slash at their end", async () => {
    expect(refused((await attack(() => forgeTar([{ name: "" }]))).layer).error).toContain("without a name");
    expect(accepted((await attack(() => forgeTar([{ name: "d/", type: "0" }]))).layer)).toEqual(["d/"]);
    expect(
      refused((await attack(() => forgeTar([{ name: "d/", type: "0", content: "x" }]))).layer).code,
    ).toBe("corrupt");
    expect(
      accepted((await attack(() => forgeTar([{ name: "l/", type: "2", linkName: "x" }]))).layer),
    ).toEqual(["l@"]);
  });

  test("a file where a directory is needed", async () => {
    const { layer } = await attack(() => forgeTar([{ name: "a" }, { name: "a/b" }]));
    expect(refused(layer).error).toContain('lies in "a", which is no directory');
  });

  test("owners up to 2^32-2 and times far away are kept", async () => {
    await using room = openRoom({ parent: "/dev/shm" });
    const { diffId } = await room.pull(
      forgeTar([
        { name: "a", pax: { uid: "4294967294", gid: "4294967294", mtime: "-1" } },
        { name: "b", pax: { mtime: "1099511627776.000000001" } },
        {
          name: "c",
          patch: {
            108: Buffer.from("80000000fffffffe", "hex"),
            136: Buffer.from("ffffffffffffffffffffff9c", "hex"),
          },
        },
      ]),
    );
    await room.tree(diffId);
    using view = await room.snapshots.view([diffId]);
    expect(view.lstat("a" as BytePath)).toMatchObject({
      uid: 4_294_967_294,
      gid: 4_294_967_294,
      mtimeNs: -1_000_000_000n,
    });
    expect(view.lstat("b" as BytePath)?.mtimeNs).toBe(1_099_511_627_776_000_000_001n);
    expect(view.lstat("c" as BytePath)).toMatchObject({ uid: 4_294_967_294, mtimeNs: -100_000_000_000n });
  });

  test("so they are through every way in, but for the owners of a context, which are root", async () => {
    const long = "n".repeat(255);
    const found = await entries(
      forgeTar([
        { name: "a", pax: { uid: "4294967294", gid: "4294967294", mtime: "-1" } },
        // Beyond what the file system of a tree need hold; a context lies on one.
        { name: "b", pax: { mtime: "1099511627776.000000001" } },
        { name: "x", pax: { path: long } },
      ]),
    );
    const lines = (text: string): string => text.replace(/ [0-9a-f]{16}$/, "").replaceAll('"in/', '"');
    const expected = (owner: string): readonly string[] => [
      `"a" file 644 ${owner} -1000000000`,
      '"b" file 644 0:0 1099511627776000000001',
      `"${long}" file 644 0:0 1600000000000000000`,
    ];
    for (const door of ["layer", "load", "add"] as const)
      expect(found[door].map(lines), door).toEqual(expected("4294967294:4294967294"));
    expect(found.context.map(lines)).toEqual(expected("0:0"));
  });
});
