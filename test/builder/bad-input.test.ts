import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

describe("bad input", () => {
  test.each([
    ["FROM nowhere.invalid/x:1\nRUN true", { pull: "never" as const }, "not-found", "Containerfile:1:6"],
    ["FROM scratch\nRUN --device=vendor.example/x=y true", {}, "unsupported", "Containerfile:2:5"],
    ['FROM --platform=linux/s390x scratch\nRUN ["/x"]', {}, "unsupported", "Containerfile:2:1"],
    ["FROM --platform=bogus scratch\nENV A=1", {}, "usage", "Containerfile:1:6"],
    ["FROM $NOPE\nENV A=1", {}, "syntax", "Containerfile:1:6"],
    ["FROM scratch\nUSER ghost\nRUN true", {}, "not-found", "Containerfile:3:1"],
    ["FROM scratch\nEXPOSE 99999", {}, "syntax", "Containerfile:2:8"],
  ])("%j", async (containerfile, options, code, where) => {
    await using lab = await openLab();
    await expect(lab.build(`${containerfile}\n`, options)).rejects.toMatchObject({ code, where });
  });

  test("a missing Containerfile names the context", async () => {
    await using lab = await openLab();
    await expect(lab.cooper.build({ contextDir: lab.context })).rejects.toThrow(
      /neither a Containerfile nor a Dockerfile in/,
    );
    writeFileSync(join(lab.context, "Dockerfile"), "FROM scratch\nENV A=1\n");
    await expect(lab.cooper.build({ contextDir: lab.context })).resolves.toMatchObject({
      steps: { built: 1 },
    });
  });

  test("a Containerfile beyond 64 MiB and one that is a directory are refused by name", async () => {
    await using lab = await openLab();
    const file = join(lab.context, "big");
    writeFileSync(file, "");
    truncateSync(file, 64 * 1024 * 1024 + 1);
    await expect(lab.cooper.build({ contextDir: lab.context, file })).rejects.toMatchObject({
      code: "syntax",
      message: `${file} is larger than 64 MiB`,
    });
    await expect(lab.cooper.build({ contextDir: lab.context, file: lab.context })).rejects.toMatchObject({
      code: "io",
    });
  });

  test("an abort ends the step and the build", async () => {
    await using lab = await openLab();
    await lab.build(BUSYBOX_BASE);
    const controller = new AbortController();
    const building = lab.build(
      `${BUSYBOX_BASE}RUN echo ready; trap '' TERM INT; sleep 600 & wait; sleep 600\n`,
      {
        signal: controller.signal,
        onEvent: (event) => {
          if (event.type === "output") controller.abort(new Error("stop"));
        },
      },
    );
    await expect(building).rejects.toThrow(/stop|abort|interrupt/);
  });
});
