import { existsSync, lstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCanary } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { HOSTILE, loadBase } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { forgeTar } from "../support/tar-forge.js";

let lab: Lab;
let canary: Canary;
beforeAll(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
  lab.write({ p: "payload" });
  writeFileSync(join(lab.context, "a.tar"), forgeTar([{ name: "from-tar", content: "payload" }]));
  // The links of an earlier RUN; those of a base image are the same with `loadBase`.
  await loadBase(lab, [
    { name: "climb", type: "2", linkName: canary.climb },
    { name: "victim", type: "2", linkName: `${canary.dir}/victim` },
    { name: "tree/out", type: "2", linkName: canary.dir },
  ]);
});
afterAll(() => lab[Symbol.asyncDispose]());

/** Builds these steps on an image with links out of it; the image's files. */
async function built(steps: string): Promise<string> {
  const text = `FROM ${HOSTILE}\nRUN ln -s ${canary.dir} /esc\n${steps}`;
  const dest = await lab.extract(await lab.build(text), text);
  canary.untouched();
  return dest;
}

describe.each(["/esc", "/climb"])(
  "C12: a destination behind the link %s of the image lands inside",
  (link) => {
    test.each([
      ["COPY", `COPY p ${link}/P\n`, "P"],
      ["COPY into a directory", `COPY p ${link}/\n`, "p"],
      ["COPY --link", `COPY --link p /other/P\nCOPY p ${link}/P\n`, "P"],
      ["COPY --from", `COPY --from=${HOSTILE} /bin/busybox ${link}/deep/P\n`, "deep/P"],
      ["COPY of a heredoc", `COPY <<EOF ${link}/f\npayload\nEOF\n`, "f"],
      ["ADD", `ADD p ${link}/P\n`, "P"],
      ["ADD of an archive", `ADD a.tar ${link}/\n`, "from-tar"],
      ["WORKDIR", `WORKDIR ${link}/w\nCOPY p P\n`, "w/P"],
      ["WORKDIR and RUN", `WORKDIR ${link}/w\nRUN echo payload > P\n`, "w/P"],
    ])("%s", async (_, steps, name) => {
      const dest = await built(steps);
      expect(lstatSync(join(dest, canary.dir, name)).isFile()).toBe(true);
      expect(existsSync(join(canary.dir, name))).toBe(false);
    });
  },
);

describe("C12: a file of the image that is a link", () => {
  test.each([
    ["COPY", "COPY p /victim\n"],
    ["ADD", "ADD p /victim\n"],
    ["heredoc", "COPY <<EOF /victim\npayload\nEOF\n"],
  ])("is never written through to the host by %s", async (_, steps) => {
    await built(steps);
  });

  test("VOLUME behind a link makes nothing outside, in build or run", async () => {
    const text = `FROM ${HOSTILE}\nRUN ln -s ${canary.dir} /esc\nVOLUME /esc/v /climb/v ${canary.climb}\nRUN touch /esc/x || true\n`;
    await lab.build(text, { tags: ["volumes"] });
    canary.untouched();
    await lab.cooper.run("volumes", { command: ["ls", "/"], network: "none", onOutput: () => undefined });
    canary.untouched();
  });

  test("a link that a COPY itself brings is not followed by the next, to the host", async () => {
    const dest = await built(`COPY --from=${HOSTILE} /tree/ /brought/\nCOPY p /brought/out/P\n`);
    expect(existsSync(join(canary.dir, "P"))).toBe(false);
    expect(readFileSync(join(dest, canary.dir, "P"), "utf8")).toBe("payload");
  });
});

test("C12: ADD of an archive through an absolute link inside the image still works", async () => {
  const dest = await built("RUN mkdir -p /real/dir && ln -s /real/dir /absolute\nADD a.tar /absolute\n");
  expect(readFileSync(join(dest, "real/dir/from-tar"), "utf8")).toBe("payload");
  expect(lstatSync(join(dest, "absolute")).isSymbolicLink()).toBe(true);
});
