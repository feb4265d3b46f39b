import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findIgnoreFile } from "../../src/context/index.js";
import { scratch } from "./scratch.js";

/** From the weakest to the strongest; each is the file in force while no stronger one is there. */
const PLACES = [
  ".dockerignore",
  ".containerignore",
  "ci/app.Containerfile.dockerignore",
  "ci/app.Containerfile.containerignore",
] as const;

test("one file is in force, the first of their order, and the others are named", () => {
  using its = scratch();
  const containerfile = join(its.dir, "ci/app.Containerfile");
  const find = () => findIgnoreFile({ contextDir: its.dir, containerfile });
  expect(find()).toBeUndefined();
  let passedOver: readonly string[] = [];
  for (const place of PLACES) {
    its.write(place, `# one\n  ${place}.tmp \n`);
    expect(find()).toEqual({
      path: join(its.dir, place),
      name: place,
      lines: [{ pattern: `${place}.tmp`, where: `${place}:2`, text: `${place}.tmp` }],
      passedOver,
    });
    passedOver = [place, ...passedOver];
  }
  its.write("other", "# none\n");
  const named = findIgnoreFile({ contextDir: its.dir, containerfile, ignoreFile: join(its.dir, "other") });
  expect(named).toMatchObject({ name: "other", lines: [], passedOver: [] });
});

test("an empty ignore file is one: nothing weaker is read", () => {
  using its = scratch();
  its.write(".dockerignore", "a\n");
  its.write(".containerignore", "");
  expect(findIgnoreFile({ contextDir: its.dir })).toMatchObject({ name: ".containerignore", lines: [] });
});

test("a Containerfile that is in no file has no ignore file of its own", () => {
  using its = scratch();
  its.write("Containerfile.containerignore", "a\n");
  expect(findIgnoreFile({ contextDir: its.dir })).toBeUndefined();
});

test("one that lies elsewhere has it beside itself", () => {
  using its = scratch();
  mkdirSync(join(its.root, "ci"));
  const containerfile = join(its.root, "ci/app.Containerfile");
  writeFileSync(`${containerfile}.dockerignore`, "a\n");
  its.write(".containerignore", "b\n");
  expect(findIgnoreFile({ contextDir: its.dir, containerfile })).toMatchObject({
    name: `${containerfile}.dockerignore`,
    lines: [{ pattern: "a", where: `${containerfile}.dockerignore:1` }],
    passedOver: [".containerignore"],
  });
});

test("two names of one file are no choice", () => {
  using its = scratch();
  its.write(".containerignore", "a\n");
  symlinkSync(".containerignore", join(its.dir, ".dockerignore"));
  linkSync(join(its.dir, ".containerignore"), join(its.dir, "Containerfile.dockerignore"));
  const containerfile = join(its.dir, "Containerfile");
  expect(findIgnoreFile({ contextDir: its.dir, containerfile })).toMatchObject({
    name: "Containerfile.dockerignore",
    passedOver: [],
  });
});

test("a Containerfile whose name leaves no room for the suffix has none", () => {
  using its = scratch();
  its.write(".dockerignore", "a\n");
  const containerfile = join(its.dir, "n".repeat(250));
  expect(findIgnoreFile({ contextDir: its.dir, containerfile })?.name).toBe(".dockerignore");
});

test("a named file that is not there", () => {
  using its = scratch();
  const ignoreFile = join(its.dir, "none");
  expect(() => findIgnoreFile({ contextDir: its.dir, ignoreFile })).toThrow(
    expect.objectContaining({ code: "not-found", message: `there is no ignore file ${ignoreFile}` }),
  );
});
