import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import { ownChildren } from "../support/leftovers.js";
import { describeWith } from "../support/packages.js";
import { processesWith } from "../support/processes.js";
import { problemsOf } from "../support/store-problems.js";

const CACHE = "--mount=type=cache,target=/var/cache/x";

/** The helper of this process's chroot driver; it has to be there. */
function helper(): number {
  const found = [...ownChildren()].filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("chroot-child.cjs"),
  );
  expect(found).toHaveLength(1);
  return found[0] ?? 0;
}

describeWith(["root", "busybox"], "the helper of a step by chroot is killed", () => {
  test("its processes are ended, and its caches have what they had", async () => {
    await using lab = await openLab();
    const isolation = "chroot";
    // The image's own files there are no part of the cache.
    const base = `${BUSYBOX_BASE}RUN mkdir -p /var/cache/x && echo image > /var/cache/x/image\n`;
    const fill = `RUN ${CACHE} mkdir /var/cache/x/dir && echo kept > /var/cache/x/dir/file\n`;
    await lab.build(`${base}${fill}`, { isolation });
    const marker = `4669201${process.pid}`;
    const stuck = `RUN ${CACHE} echo more > /var/cache/x/more; (setsid sleep ${marker} &); sleep ${marker}; :\n`;
    const building = lab.build(`${base}${fill}${stuck}`, { isolation });
    const failed = expect(building).rejects.toMatchObject({
      code: "sandbox",
      message: "the sandbox's helper process died: killed by SIGKILL",
      hint: "the kernel does that when memory runs out",
      where: "Containerfile:6:1",
    });
    await vi.waitFor(() => expect(processesWith(`sleep ${marker}`).length).toBeGreaterThan(1), {
      timeout: 20_000,
    });
    process.kill(helper(), "SIGKILL");
    await failed;
    expect(processesWith(marker)).toEqual([]);
    const look = await lab.build(
      `${base}${fill}RUN ${CACHE} cd /var/cache/x; find . -type f | sort; cat dir/file\n`,
      {
        isolation,
      },
    );
    expect(look.output).toContain("./dir/file\n./more\nkept\n");
    await lab.cooper[Symbol.asyncDispose]();
    expect(readdirSync(join(lab.cooper.root, "tmp"))).toEqual([]);
    expect(await problemsOf(lab.cooper.root)).toEqual([]);
  });
});
