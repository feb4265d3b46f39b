import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { testWith } from "../support/packages.js";
import { bundleProgram, childPath } from "./support.js";

/** A group that nobody is in. */
const GROUP = 54321;

/**
 * The files that show a process belong to its user and group; those of one that is not dumpable, to root, and nobody but
 * who may trace every process looks into its memory and descriptors. A helper in a group of its own tells which it is.
 */
testWith(["root"], "the helper's memory and descriptors are nobody's business (hazard X02)", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-closed-"));
  try {
    const program = await bundleProgram(
      dir,
      `import { statSync } from "node:fs";
      import { startHelper } from "./src/runtime/helper.ts";
      const helper = startHelper(${JSON.stringify(childPath)});
      helper.hold(true);
      const { pid } = await helper.next();
      const groups = [process.pid, pid].map((id) => statSync("/proc/" + id + "/environ").gid);
      await helper.stop();
      console.log(groups.join(" "));`,
    );
    const argv = ["--regid", String(GROUP), "--clear-groups", "--", process.execPath, program];
    const said = execFileSync("setpriv", argv, { encoding: "utf8" });
    expect(said).toBe(`${GROUP} 0\n`);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
