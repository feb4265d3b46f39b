import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectFailure, expectNothingLeft, openFaultLab } from "./fault-lab.js";
import { problemsOf } from "../support/store-problems.js";
import type { FaultLab } from "./fault-lab.js";

const MIB = 1024 * 1024;

let disk: string;
let lab: FaultLab;
beforeAll(async () => {
  disk = mkdtempSync(join(tmpdir(), "cooper-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m,mode=0700", "cooper-disk", disk]);
  lab = await openFaultLab(join(disk, "root"));
});
afterAll(async () => {
  // Whatever was given up half-way, nothing of it is in the way now.
  expect((await lab.build("FROM base\nRUN echo again > /again\n")).status).toBe(0);
  lab[Symbol.dispose]();
  execFileSync("umount", [disk]);
  rmSync(disk, { recursive: true });
});

/** Fills the disk but for so many bytes. */
function leave(free: number): void {
  rmSync(join(disk, "filling"), { force: true });
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(join(disk, "filling"), Buffer.alloc(Math.max(0, bavail * bsize - free)));
}

const full = /^Error: .*(?:no space left on device|exceeds the space that is left in the store)$/;

describe("a disk that becomes full", () => {
  test.each([0, 4096, 300 * 1024, 3 * MIB])("during COPY, with %d bytes left", async (free) => {
    lab.write({ "context/big": Buffer.alloc(4 * MIB, "x") });
    leave(free);
    const result = await lab.build("FROM base\nCOPY big /big\nRUN true\n", ["-t", "never"]);
    expectFailure(result, 125, full);
    expect(result.stderr).toMatch(/hint: free some space/);
    await whole();
  });

  test.each([16 * 1024, 2 * MIB])("during RUN, with %d bytes left", async (free) => {
    leave(free);
    const result = await lab.build("FROM base\nRUN head -c 4000000 /dev/zero > /zeroes\n", ["-t", "never"]);
    // The command itself is told, and fails, unless the disk was too full to start it.
    expect(result.status).not.toBe(0);
    expectFailure(result, result.status, /no space left on device|exit status 1$/);
    await whole();
  });

  test.each([0, 8192, 16 * 1024, 32 * 1024, 128 * 1024])(
    "during the commit of little, with %d bytes left",
    async (free) => {
      leave(free);
      const result = await lab.build(`FROM base\nENV A=${free}\nRUN echo x > /x\nLABEL b=c\n`, [
        "-t",
        "little",
      ]);
      if (result.status !== 0) expectFailure(result, 125, full);
      else expect((await lab.run(["run", "--rm", "little", "cat", "/x"])).stdout).toBe("x\n");
      await whole();
    },
  );

  test("save to it", async () => {
    leave(64 * 1024);
    const dest = join(disk, "out.tar");
    expectFailure(await lab.run(["save", "-o", dest, "base"], { mayFail: true }), 125, full);
    await whole();
  });
});

test("rmi works on a disk that is full to the last byte", async () => {
  await lab.build("FROM base\nRUN head -c 1000000 /dev/urandom > /r\n", ["-t", "heavy"]);
  leave(0);
  const before = statfsSync(disk).bavail;
  expect(await lab.run(["rmi", "heavy"], { mayFail: true })).toMatchObject({ status: 0 });
  expect(statfsSync(disk).bavail).toBeGreaterThan(before);
  expect(await problemsOf(lab.root)).toEqual([]);
  await whole();
});

/** After the disk is free again; what can be read on a full one is read on the full one. */
async function whole(): Promise<void> {
  expect(await lab.run(["inspect", "base"], { mayFail: true })).toMatchObject({ status: 0, stderr: "" });
  rmSync(join(disk, "filling"));
  await expectNothingLeft(lab);
}
