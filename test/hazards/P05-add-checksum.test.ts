import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLab } from "../support/lab.js";
import { openSite } from "../support/site.js";

test("P05: a body with another checksum fails the step, leaves no file and nothing that a later build takes", async () => {
  await using lab = await openLab();
  await using site = await openSite();
  site.replies.set("/tool", { body: "forged" });
  const checksum = `sha256:${createHash("sha256").update("genuine").digest("hex")}`;
  const containerfile = `FROM scratch\nADD --checksum=${checksum} ${site.url}/tool /tool\n`;
  const images = (): readonly string[] => readdirSync(join(lab.dir, "root/images"));
  const before = images();
  for (let i = 0; i < 2; i += 1) {
    await expect(lab.build(containerfile)).rejects.toMatchObject({
      code: "corrupt",
      where: "Containerfile:2:1",
    });
  }
  expect(images()).toEqual(before);
  site.replies.set("/tool", { body: "genuine" });
  expect((await lab.build(containerfile)).built).toHaveLength(1);
  // What is known by its checksum now is not what the server says later.
  site.replies.set("/tool", { body: "forged" });
  expect((await lab.build(containerfile)).cached).toHaveLength(1);
});
