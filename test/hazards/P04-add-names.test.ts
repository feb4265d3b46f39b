import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLab } from "../support/lab.js";
import { openSite } from "../support/site.js";

test.each([
  ["/%2e%2e%2fescaped", "escaped"],
  ["/a/b%2Fc", "c"],
  ["/plain", "plain"],
])("P04: ADD of %s writes into the destination and nowhere else", async (path, name) => {
  await using lab = await openLab();
  await using site = await openSite();
  const headers = { "content-disposition": 'attachment; filename="../../x"' };
  site.replies.set(path, { body: "body", headers });
  const containerfile = `FROM scratch\nADD ${site.url}${path} /a/b/c/\n`;
  const out = await lab.extract(await lab.build(containerfile), containerfile);
  expect(readdirSync(out, { recursive: true, encoding: "utf8" }).toSorted()).toEqual([
    "a",
    "a/b",
    "a/b/c",
    `a/b/c/${name}`,
  ]);
});

test.each(["/", "/%2e%2e%2f%2e%2e", "/x/%2E%2E%2F.."])(
  "P04: ADD of %s into a directory is an error, since it names no file",
  async (path) => {
    await using lab = await openLab();
    await using site = await openSite();
    site.replies.set(path, { body: "body" });
    site.replies.set("/x/", { body: "body" });
    await expect(lab.build(`FROM scratch\nADD ${site.url}${path} /d/\n`)).rejects.toMatchObject({
      name: "CooperError",
      where: "Containerfile:2:1",
    });
  },
);

test("P04: a redirect to a file of this machine is refused", async () => {
  await using lab = await openLab();
  await using site = await openSite();
  const secret = join(lab.dir, "secret");
  site.replies.set("/r", { body: "", status: 302, headers: { location: `file://${secret}` } });
  await expect(lab.build(`FROM scratch\nADD ${site.url}/r /d\n`)).rejects.toMatchObject({
    name: "CooperError",
  });
  expect(existsSync(join(lab.dir, "root/tmp/d"))).toBe(false);
});
