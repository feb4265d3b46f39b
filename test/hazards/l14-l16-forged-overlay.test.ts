import { execFileSync } from "node:child_process";
import { lstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import { HOSTILE, busyboxLayer, loadBase } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { forgeImage, forgeOciArchive } from "../support/oci-forge.js";
import { describeWith } from "../support/packages.js";
import { inOverlay } from "../snapshot/overlay.js";
import { accepted, attack, entries, refused } from "../snapshot/hostile.js";
import { bytesOfStream, dir, file, openRoom } from "../snapshot/room.js";
import { forgeTar } from "../support/tar-forge.js";

const NAMES = ["redirect", "opaque", "metacopy", "origin", "upper", "whiteout", "impure"];

describeWith(["root", "mounts"], "L14: overlayfs's own attributes in an archive", () => {
  test.each(["trusted.overlay", "user.overlay"])(
    "%s.* never takes effect and is not kept",
    async (prefix) => {
      await using room = openRoom();
      const below = await room.snapshots.write([
        dir("d"),
        file("d/low", "low"),
        dir("real"),
        file("real/secret", "hidden"),
      ]);
      const forged = Object.fromEntries(
        NAMES.map((name) => [`SCHILY.xattr.${prefix}.${name}`, name === "redirect" ? "/real" : "y"]),
      );
      const above = await room.pull(
        forgeTar([
          { name: "d/", pax: { ...forged, "SCHILY.xattr.user.kept": "k" } },
          { name: "f", pax: forged },
        ]),
      );
      await using rootfs = await room.overlay([below.diffId, above.diffId]);
      expect(inOverlay(rootfs, "ls d")).toBe("low\n");
      const tree = rootfs.lowerDirs[0] ?? "";
      expect([...treeSyscalls().xattrs(join(tree, "d")).keys()]).toEqual(["user.kept"]);
      expect([...treeSyscalls().xattrs(join(tree, "f")).keys()]).toEqual([]);
      using view = await room.snapshots.view([below.diffId, above.diffId]);
      expect([...(view.lstat("d" as BytePath)?.xattrs?.keys() ?? [])]).toEqual(["user.kept"]);
      expect(view.list("d" as BytePath)).toEqual(["low"]);
    },
  );

  test("a record of our own stand-ins cannot be forged either", async () => {
    await using room = openRoom({ userNamespace: true });
    const { diffId } = await room.pull(
      forgeTar([{ name: "f", pax: { "SCHILY.xattr.user.cooper.inode": "5:6:char:1:1" } }]),
    );
    await room.tree(diffId);
    using view = await room.snapshots.view([diffId]);
    expect(view.lstat("f" as BytePath)).toMatchObject({ type: "file", uid: 0 });
  });
});

describeWith(["root", "mounts"], "L14: overlayfs's own attributes, through ADD, a context and load", () => {
  test("redirect nothing and hide nothing", async () => {
    await using lab = await openLab();
    const pax = Object.fromEntries(
      ["trusted", "user"].flatMap((kind) =>
        NAMES.map((name) => [`SCHILY.xattr.${kind}.overlay.${name}`, name === "redirect" ? "/real" : "y"]),
      ),
    );
    const forged = [
      { name: "d/", pax },
      { name: "f", pax },
    ];
    const below = [{ name: "d/low" }, { name: "real/hidden" }];
    const look = "RUN ls /d; getfattr -d -m - /d /f 2>/dev/null | grep overlay; true\n";
    await loadBase(lab, below);
    writeFileSync(join(lab.context, "forged.tar"), forgeTar(forged));
    const added = await lab.build(`FROM ${HOSTILE}\nADD forged.tar /\n${look}`, { cache: false });
    const context = Readable.from([forgeTar(forged)]);
    const chunks: Uint8Array[] = [];
    await lab.cooper.build({
      context,
      cache: false,
      containerfile: `FROM ${HOSTILE}\nCOPY . /\n${look}`,
      onEvent: (event) => void (event.type === "output" && chunks.push(event.chunk)),
    });
    const path = join(lab.dir, "two.tar");
    const layers = [busyboxLayer(), forgeTar(below), forgeTar(forged)];
    writeFileSync(path, forgeOciArchive(forgeImage({ layers, name: "two" })));
    await lab.cooper.load(path);
    const loaded = await lab.build(`FROM localhost/two\n${look}`, { cache: false });
    for (const output of [added.output, Buffer.concat(chunks).toString("utf8"), loaded.output])
      expect(output).toBe("low\n");
  });
});

describe("L15: a device that overlayfs would take for a deletion", () => {
  test("is refused in layers and archives", async () => {
    for (const name of ["etc/passwd", "x"]) {
      for (const door of Object.values(
        await attack(() => forgeTar([{ name, type: "3", major: 0, minor: 0 }])),
      ))
        expect(refused(door)).toMatchObject({
          code: "unsupported",
          error: expect.stringContaining("device 0:0") as string,
        });
    }
  });

  test("is not made by numbers too large for the kernel, whose rest is 0:0", async () => {
    for (const [major, minor] of [
      [4096, 0],
      [0, 1_048_576],
      [65_536, 1_048_576],
    ] as const) {
      for (const door of Object.values(
        await attack(() => forgeTar([{ name: "x", type: "3", major, minor }])),
      ))
        expect(refused(door).error).toContain("device number out of range");
    }
  });

  test("is no device when it is a block device: those are kept", async () => {
    const { layer } = await attack(() => forgeTar([{ name: "x", type: "4", major: 0, minor: 0 }]));
    expect(accepted(layer)).toEqual(["x"]);
  });
});

describeWith(["root"], "L16: devices, setuid bits and attributes", () => {
  test("are kept byte for byte, but for labels that mean something only on one host", async () => {
    await using room = openRoom();
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    const tar = forgeTar([
      { name: "mem", type: "3", major: 1, minor: 1, mode: 0o640, gid: 15 },
      { name: "loop0", type: "4", major: 7, minor: 0, mode: 0o660 },
      { name: "su", content: "x", mode: 0o4755 },
      {
        name: "ping",
        content: "x",
        uid: 5,
        mode: 0o2755,
        pax: {
          "SCHILY.xattr.security.capability": capability,
          "SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0\0",
          "SCHILY.xattr.security.ima": "x",
          "SCHILY.xattr.security.evm": "x",
        },
      },
    ]);
    const { diffId } = await room.pull(tar);
    const tree = await room.tree(diffId);
    expect(lstatSync(join(tree, "mem"))).toMatchObject({ rdev: 0x101, mode: 0o20640, gid: 15 });
    expect(lstatSync(join(tree, "loop0"))).toMatchObject({ rdev: 0x700, mode: 0o60660 });
    expect(lstatSync(join(tree, "su")).mode).toBe(0o104755);
    expect(lstatSync(join(tree, "ping"))).toMatchObject({ mode: 0o102755, uid: 5 });
    expect(treeSyscalls().xattrs(join(tree, "ping"))).toEqual(new Map([["security.capability", capability]]));
    // The pulled bytes themselves stay as they were.
    expect((await bytesOfStream(room.snapshots.tar(diffId))).equals(tar)).toBe(true);
    expect(execFileSync("getcap", [join(tree, "ping")], { encoding: "utf8" })).toContain("cap_net_raw");
    expect(readFileSync(join(tree, "su"), "utf8")).toBe("x");
  });

  test("through every way in; a context has no devices, no owners, and no attributes but users' and capabilities", async () => {
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    const found = await entries(
      forgeTar([
        { name: "loop0", type: "4", major: 7, minor: 0, mode: 0o660 },
        { name: "mem", type: "3", major: 1, minor: 1, mode: 0o640, gid: 15 },
        {
          name: "ping",
          content: "x",
          uid: 5,
          mode: 0o6755,
          pax: {
            "SCHILY.xattr.security.capability": capability,
            "SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0\0",
            "SCHILY.xattr.security.ima": "x",
            "SCHILY.xattr.security.evm": "x",
            "SCHILY.xattr.trusted.kept": "t",
            "SCHILY.xattr.user.kept": "u",
          },
        },
      ]),
    );
    const kept = `security.capability=${capability.toString("hex")}`;
    const lines = (text: string): string => text.replace(/ [0-9a-f]{16}$/, "").replaceAll('"in/', '"');
    const time = "1600000000000000000";
    const all = [
      `"loop0" block 660 0:0 ${time} 7:0`,
      `"mem" char 640 0:15 ${time} 1:1`,
      `"ping" file 6755 5:0 ${time} ${kept} trusted.kept=74 user.kept=75`,
    ];
    for (const door of ["layer", "load", "add"] as const) expect(found[door].map(lines), door).toEqual(all);
    expect(found.context.map(lines)).toEqual([`"ping" file 6755 0:0 ${time} ${kept} user.kept=75`]);
  });
});
