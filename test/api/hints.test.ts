import { join } from "node:path";
import { expect, test } from "vitest";
import { openLab } from "../support/lab.js";

test("a context that is not there is named as such", async () => {
  await using lab = await openLab();
  const contextDir = join(lab.dir, "nowhere");
  await expect(lab.cooper.build({ contextDir })).rejects.toMatchObject({
    code: "not-found",
    message: `the build context ${contextDir} does not exist`,
  });
});

test.each([undefined, "f"])("a context that is a file is named as such, with file %s", async (file) => {
  await using lab = await openLab();
  lab.write({ f: "FROM scratch\nCOPY f /\n" });
  const contextDir = join(lab.context, "f");
  await expect(
    lab.cooper.build({ contextDir, ...(file === undefined ? {} : { file: join(lab.context, file) }) }),
  ).rejects.toMatchObject({ code: "context", message: `the build context ${contextDir} is not a directory` });
});

test("pushing a name without a registry says what is missing", async () => {
  await using lab = await openLab();
  lab.write({ a: "a" });
  await lab.build("FROM scratch\nCOPY a /a\n", { tags: ["plain"] });
  await expect(lab.cooper.push("plain", undefined, { retries: 0 })).rejects.toMatchObject({
    code: "network",
    hint: expect.stringContaining("cooper push NAME registry.example") as string,
  });
});
