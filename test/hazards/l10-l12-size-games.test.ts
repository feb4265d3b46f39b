import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { openRoom } from "../snapshot/room.js";
import { forgeLong, forgeMember, forgePax, forgeTar, padded } from "../support/tar-forge.js";

const EOF = Buffer.alloc(1024);
const nested = forgeTar([{ name: "inner", content: "smuggled" }]).subarray(0, 1024);

describe("L10: two sizes for one entry", () => {
  test("the extended header's size counts, so that an inner tar stays content", async () => {
    const tar = Buffer.concat([
      forgePax({ size: "1024" }),
      forgeMember({ name: "nested.tar", size: 0 }),
      nested,
      forgeMember({ name: "tail", content: "x" }),
      EOF,
    ]);
    for (const door of Object.values(await attack(() => tar)))
      expect(accepted(door)).toEqual(["nested.tar", "tail"]);
    expect(execFileSync("tar", ["-tf", "-"], { input: tar, encoding: "utf8" })).toBe("nested.tar\ntail\n");
  });

  test("an extended size is not the size of the long name between it and its file", async () => {
    const tar = Buffer.concat([
      forgePax({ size: "2048" }),
      forgeLong("longname.txt"),
      forgeMember({ name: "short", size: 0 }),
      Buffer.alloc(2048, 1),
      EOF,
    ]);
    for (const door of Object.values(await attack(() => tar)))
      expect(accepted(door)).toEqual(["longname.txt"]);
    await using room = openRoom();
    const { diffId } = await room.pull(tar);
    using view = await room.snapshots.view([diffId]);
    expect(view.lstat("longname.txt" as never)?.size).toBe(2048);
  });

  test("entries that have no content in any reader's eyes have none in ours", async () => {
    for (const type of ["1", "2", "3", "4", "5", "6"]) {
      const member = { name: "x", type, linkName: "f", size: 512, major: 1, minor: 3 };
      const { layer } = await attack(() =>
        Buffer.concat([
          forgeMember({ name: "f", content: "f" }),
          forgeMember(member),
          forgeMember({ name: "next" }),
          EOF,
        ]),
      );
      expect(accepted(layer)).toHaveLength(3);
    }
  });

  test("two different long names for one entry, or a name for all entries, are refused", async () => {
    const file = forgeMember({ name: "x" });
    for (const head of [
      Buffer.concat([forgePax({ path: "a" }), forgeLong("b")]),
      Buffer.concat([forgeLong("a"), forgeLong("b")]),
      Buffer.concat([forgePax({ path: "a" }), forgePax({ path: "b" })]),
      forgePax({ path: "a" }, "g"),
      forgePax({ size: "5" }, "g"),
    ]) {
      for (const door of Object.values(await attack(() => Buffer.concat([head, file, EOF]))))
        expect(refused(door).code).toBe("corrupt");
    }
  });
});

describe("L11: fields that are no numbers", () => {
  const patches: Readonly<Record<string, Readonly<Record<number, string | Buffer>>>> = {
    "negative size": { 124: "-0000000001\0" },
    "negative base-256 size": { 124: Buffer.from("ffffffffffffffffffffffff", "hex") },
    "huge base-256 size": { 124: Buffer.from("800000007fffffffffffffff", "hex") },
    "size of letters": { 124: "abcdefghijk\0" },
    "size with a nine": { 124: "00000000009\0" },
    "owner of 2^32-1": { 108: Buffer.from("80000000ffffffff", "hex") },
    "negative owner": { 108: Buffer.from("ffffffffffffffff", "hex") },
    "mode of letters": { 100: "rwxrwxr\0" },
  };
  test.each(Object.entries(patches))("a %s is refused", async (_, patch) => {
    // With nothing behind it that another size would take for a header, too.
    for (const content of ["x", ""])
      for (const door of Object.values(await attack(() => forgeTar([{ name: "x", content, patch }]))))
        expect(refused(door)).toMatchObject({ code: "corrupt" });
  });

  test.each([
    { size: "-1" },
    { size: "NaN" },
    { size: "1e3" },
    { size: "0x10" },
    { size: "18446744073709551616" },
    { size: " 1" },
    { uid: "4294967295" },
    { uid: "-1" },
    { gid: "99999999999999999999" },
    { mtime: "soon" },
    { mtime: "1e5" },
    { path: "a\0b" },
    { linkpath: "a\0b" },
  ])("an extended header with %o is refused", async (records) => {
    const doors = await attack(() => forgeTar([{ name: "x", pax: records as Record<string, string> }]));
    for (const door of Object.values(doors)) expect(refused(door).code).toBe("corrupt");
  });

  test.each([
    "5 a=b\n",
    "6 a=b",
    "6 a=bX",
    "0 a=b\n",
    "-6 a=b\n",
    "06 a=b\n",
    "6 =ab\n",
    "6 abc\n",
    "999 a=b\n",
    "99999999999 a=b\n",
    "6a=b\n",
    "\n",
  ])("an extended header that reads %j is refused", async (body) => {
    const bytes = Buffer.from(body);
    const header = forgeMember({ name: "x", type: "x", size: bytes.length }).subarray(0, 512);
    const { layer } = await attack(() =>
      Buffer.concat([header, padded(bytes), forgeMember({ name: "f" }), EOF]),
    );
    expect(refused(layer)).toMatchObject({
      code: "corrupt",
      error: expect.stringContaining("malformed extended header") as string,
    });
  });
});

describe("L12: where a tar ends", () => {
  const good = forgeMember({ name: "a", content: "x" });

  test("what follows the end marker is not read, but counts for the digest", async () => {
    const doors = await attack(() =>
      Buffer.concat([good, EOF, forgeMember({ name: "late" }), EOF, Buffer.from("trailing rubbish")]),
    );
    for (const door of Object.values(doors)) expect(accepted(door)).toEqual(["a"]);
  });

  test("a missing end marker is accepted, a cut off entry is not", async () => {
    expect(accepted((await attack(() => good)).layer)).toEqual(["a"]);
    expect(accepted((await attack(() => Buffer.concat([good, Buffer.alloc(512)]))).archive)).toEqual(["a"]);
    const long = forgeMember({ name: "b", content: Buffer.alloc(100_000, 1) });
    for (const length of [1, 511, 512, 513, 50_000, 100_351, long.length - 1]) {
      const doors = await attack(() => Buffer.concat([good, long.subarray(0, length)]));
      for (const door of Object.values(doors)) expect(refused(door).code, String(length)).toBe("corrupt");
    }
    expect(refused((await attack(() => Buffer.concat([good, forgePax({ path: "x" })]))).layer).code).toBe(
      "corrupt",
    );
  });

  test("a lone block of zeros, a wrong checksum and unknown types are refused by name", async () => {
    expect(
      refused((await attack(() => Buffer.concat([good, Buffer.alloc(512), good, EOF]))).layer).error,
    ).toContain("lone block of zeros");
    const broken = Buffer.from(good);
    broken[0] = 0x62;
    expect(refused((await attack(() => Buffer.concat([good, broken, EOF]))).layer).error).toContain(
      "bad header checksum at offset 1024",
    );
    for (const type of ["M", "V", "D", "S", "X", "8", "a", "\xff"]) {
      for (const door of Object.values(await attack(() => forgeTar([{ name: "odd one", type }]))))
        expect(refused(door)).toMatchObject({
          code: "unsupported",
          error: expect.stringContaining('"odd one"') as string,
        });
    }
  });
});
