import { expect, test } from "vitest";
import { replyError, startFakeRegistry } from "../support/fake-registry.js";
import { amd64, fullName, openTestRoom, sampleImage, seed } from "../registry/samples.js";

const mounts = (lines: readonly string[]) =>
  lines
    .filter((line) => line.includes("mount="))
    .map((line) => new URL(line.split(" ")[1] ?? "", "http://x").searchParams.get("from"));

test("R16: blobs are mounted only from repositories that this process used with the same credential", async () => {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const base = sampleImage([1000]);
  seed(fake, "base:1", base);
  const image = { ...sampleImage([2000, 3000]), mountFrom: () => "base" };
  const push = (tag: string, creds?: string) =>
    room.registry.push(
      { ...image, ...sampleImage([2000]), mountFrom: () => "base" },
      fullName(`${fake.host}/app:${tag}`),
      creds === undefined ? {} : { creds },
    );
  await push("1");
  expect(mounts(fake.lines())).toEqual([]);
  await room.registry.find(fullName(`${fake.host}/base:1`), amd64, {});
  await push("2", "other:user");
  expect(mounts(fake.lines())).toEqual([]);
  await push("3");
  expect(mounts(fake.lines())).toEqual(["base"]);
});

test("R16: whatever a registry answers to a mount, the blob gets there", async () => {
  for (const status of [400, 401, 403, 404, 405, 500]) {
    await using fake = await startFakeRegistry({
      script: (request, response) =>
        request.url?.includes("mount=") === true && replyError(response, status, "NO", "no"),
    });
    await using room = openTestRoom();
    await room.registry.push(sampleImage(), fullName(`${fake.host}/base:1`), {});
    const image = sampleImage([4000]);
    await room.registry.push({ ...image, mountFrom: () => "base" }, fullName(`${fake.host}/app:1`), {});
    expect(mounts(fake.lines())).toEqual(["base"]);
    expect(fake.manifests.get("app/1")?.bytes).toEqual(Buffer.from(image.manifestBytes));
  }
});
