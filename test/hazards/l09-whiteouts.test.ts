import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { dir, file, openRoom } from "../snapshot/room.js";
import { forgeTar } from "../support/tar-forge.js";

describe("L09: whiteouts", () => {
  test.each([".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "./.wh...", ".wh.x/y", "a/.wh.x/y/z"])(
    "%s names nothing and is refused",
    async (name) => {
      const { layer, add, context } = await attack(() => forgeTar([{ name: "a/" }, { name }]));
      expect(refused(layer).code).toBe("corrupt");
      for (const door of [add, context]) expect(refused(door).code).toBe("unsupported");
    },
  );

  test("in an archive for ADD and in a context are refused: they would delete from the image", async () => {
    for (const name of [".wh.x", "a/.wh..wh..opq", ".wh..wh.plnk/1"]) {
      const { add, context } = await attack(() => forgeTar([{ name }]));
      for (const door of [add, context]) expect(refused(door).error).toContain(".wh.");
    }
  });

  test("AUFS's own records are ignored", async () => {
    const { layer } = await attack(() =>
      forgeTar([
        { name: ".wh..wh.aufs" },
        { name: ".wh..wh.plnk/" },
        { name: ".wh..wh.plnk/12.34", content: "x" },
        { name: ".wh..wh.orph/" },
        { name: "a" },
      ]),
    );
    expect(accepted(layer)).toEqual(["a"]);
  });

  test("behind a link of the archive stay inside the root", async () => {
    const { layer } = await attack(() =>
      forgeTar([{ name: "sym", type: "2", linkName: "../victim" }, { name: "sym/.wh.hello" }]),
    );
    expect(accepted(layer)).toEqual(["sym@", "victim/", "victim/hello!"]);
  });

  test.each(["first", "last"])("an opaque marker that comes %s hides only lower layers", async (order) => {
    await using room = openRoom();
    const below = await room.snapshots.write([
      dir("a"),
      file("a/low", "1"),
      dir("a/sub"),
      file("a/sub/low", "2"),
    ]);
    const marker = [{ name: "a/.wh..wh..opq" }];
    const rest = [
      { name: "a/" },
      { name: "a/new", content: "3" },
      { name: "a/sub/" },
      { name: "a/sub/new", content: "4" },
    ];
    const above = await room.pull(forgeTar(order === "first" ? [...marker, ...rest] : [...rest, ...marker]));
    const stack = [below.diffId, above.diffId];
    const look = async (): Promise<readonly string[]> => {
      using view = await room.snapshots.view(stack);
      return [...view.list("a" as BytePath), ...view.list("a/sub" as BytePath)];
    };
    expect(await look()).toEqual(["new", "sub", "new"]);
    await room.tree(above.diffId);
    expect(await look()).toEqual(["new", "sub", "new"]);
  });

  test("a file and its whiteout in one layer: the file stays, a directory hides what is below, in any order", async () => {
    await using room = openRoom();
    const below = await room.snapshots.write([dir("d"), file("d/low", "1"), file("f", "1")]);
    const members = [
      { name: ".wh.d" },
      { name: "d/" },
      { name: "d/new" },
      { name: "f", content: "22" },
      { name: ".wh.f" },
    ];
    const digests: string[][] = [];
    for (const order of [members, members.toReversed()]) {
      const above = await room.pull(forgeTar(order));
      using view = await room.snapshots.view([below.diffId, above.diffId]);
      digests.push([
        ...view.list("" as BytePath),
        ...view.list("d" as BytePath),
        String(view.lstat("f" as BytePath)?.size),
      ]);
      const tree = await room.tree(above.diffId);
      using byTree = await room.snapshots.view([below.diffId, above.diffId]);
      expect([...byTree.list("" as BytePath), ...byTree.list("d" as BytePath)], tree).toEqual([
        "d",
        "f",
        "new",
      ]);
    }
    expect(digests).toEqual([
      ["d", "f", "new", "2"],
      ["d", "f", "new", "2"],
    ]);
  });

  test("of whole directories and of what was never there are harmless", async () => {
    await using room = openRoom();
    const below = await room.snapshots.write([dir("d"), dir("d/e"), file("d/e/f", "1")]);
    const above = await room.pull(
      forgeTar([{ name: ".wh.d" }, { name: ".wh.never" }, { name: "no/such/.wh.dir" }]),
    );
    using view = await room.snapshots.view([below.diffId, above.diffId]);
    expect(view.list("" as BytePath)).toEqual(["no"]);
    expect(view.lstat("d/e/f" as BytePath)).toBeUndefined();
  });
});
