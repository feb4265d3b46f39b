/**
 * Started in a mount namespace of its own, to mount an overlay on directories of the store and to use it as a build does.
 * Arguments: a directory, how many lower ones (they are there), "user" inside a user namespace. Says what came of it as JSON.
 */
import { mkdirSync, mkdtempSync, rmdirSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountOverlay } from "../overlay.js";
import { doing, refusalOf } from "../refusal.js";
import { cString, mount, syscall } from "../syscalls.js";

const [dir = "", layers = "1", kind] = process.argv.slice(2);

try {
  const room = mkdtempSync(join(dir, "room-"));
  doing("mount a tmpfs", () => mount("tmpfs", room, "tmpfs", 0, null));
  syscall("chdir", room, cString(room));
  const place = doing("mount an overlay", () =>
    mountOverlay({
      lowerDirs: Array.from({ length: Number(layers) }, (_, i) => join(dir, `lower-${i}`)),
      upperDir: join(dir, "upper"),
      workDir: join(dir, "work"),
      place: "o",
      userNamespace: kind === "user",
      mapping: undefined,
    }),
  );
  const root = join(room, place);
  doing("write a file in an overlay", () => writeFileSync(join(root, "new"), ""));
  doing("remove a file of a lower layer", () => unlinkSync(join(root, "file")));
  doing("replace a directory of a lower layer", () => {
    rmdirSync(join(root, "directory"));
    mkdirSync(join(root, "directory"));
  });
  process.stdout.write("{}");
} catch (error) {
  process.stdout.write(JSON.stringify(refusalOf(error)));
}
