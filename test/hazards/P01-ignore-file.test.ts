import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { IgnoreFilePlaces } from "../../src/context/index.js";
import { findIgnoreFile } from "../../src/context/index.js";
import { scratch } from "../context/scratch.js";

type Scratch = ReturnType<typeof scratch>;

/** A place for an ignore file: how it is called, where it lies, and what is asked for. */
interface Place {
  readonly name: (its: Scratch) => string;
  readonly path: (its: Scratch) => string;
  readonly places: (its: Scratch) => IgnoreFilePlaces;
  /** What a link may not lead out of; undefined for a file that the user named. */
  readonly inside?: string;
}

const inContext = (name: string, containerfile?: string): Place => ({
  name: () => name,
  path: (its) => join(its.dir, name),
  places: (its) => ({
    contextDir: its.dir,
    ...(containerfile === undefined ? {} : { containerfile: join(its.dir, containerfile) }),
  }),
  inside: "the context",
});
const elsewhere = (its: Scratch): string => join(its.root, "ci/app.Containerfile");

const places: Readonly<Record<string, Place>> = {
  ".containerignore": inContext(".containerignore"),
  ".dockerignore": inContext(".dockerignore"),
  "the Containerfile's own": inContext("Containerfile.containerignore", "Containerfile"),
  "the Containerfile's own, for docker": inContext("sub/app.dockerignore", "sub/app"),
  "the own of a Containerfile elsewhere": {
    name: (its) => `${elsewhere(its)}.containerignore`,
    path: (its) => `${elsewhere(its)}.containerignore`,
    places: (its) => ({ contextDir: its.dir, containerfile: elsewhere(its) }),
    inside: "its directory",
  },
  "a named one": {
    name: (its) => join(its.root, "ci/named"),
    path: (its) => join(its.root, "ci/named"),
    places: (its) => ({ contextDir: its.dir, ignoreFile: join(its.root, "ci/named") }),
  },
};

/** A context beside a directory `ci`, and a directory `sub` in it. */
function scene(): Scratch {
  const its = scratch();
  for (const dir of ["ci", "context/sub"]) mkdirSync(join(its.root, dir));
  return its;
}

function refused(place: Place, its: Scratch, why: string): void {
  expect(() => findIgnoreFile(place.places(its))).toThrow(
    expect.objectContaining({ code: "context", message: `the ignore file ${place.name(its)} ${why}` }),
  );
}

describe.each(Object.entries(places))("P01: %s is read only when it is a file in its place", (_, place) => {
  const patterns = (its: Scratch): readonly string[] | undefined =>
    findIgnoreFile(place.places(its))?.lines.map(({ pattern }) => pattern);
  test("a file, and a link to one beside it", () => {
    using its = scene();
    writeFileSync(place.path(its), "tmp\n");
    expect(patterns(its)).toEqual(["tmp"]);
    execFileSync("mv", [place.path(its), `${place.path(its)}.real`]);
    symlinkSync(`${place.path(its)}.real`, place.path(its));
    expect(patterns(its)).toEqual(["tmp"]);
  });

  test("a dangling link, a directory, a FIFO, a device", () => {
    using its = scene();
    const path = place.path(its);
    const again = (make: () => void, why: string): void => {
      make();
      refused(place, its, why);
      execFileSync("rm", ["-rf", path]);
    };
    again(() => symlinkSync("none", path), "is a symbolic link to nothing");
    again(() => mkdirSync(path), "is not a regular file");
    again(() => execFileSync("mkfifo", [path]), "is not a regular file");
    again(() => execFileSync("mknod", [path, "c", "1", "5"]), "is not a regular file");
  });

  test("at most 1 MiB, lines at most 64 KiB, nothing of them in the message", () => {
    using its = scene();
    const path = place.path(its);
    writeFileSync(path, "a\n".repeat(512 * 1024));
    expect(patterns(its)).toHaveLength(512 * 1024);
    writeFileSync(path, "a\n".repeat(512 * 1024 + 1));
    refused(place, its, "is larger than 1 MiB");
    truncateSync(path, 100_000_000);
    refused(place, its, "is larger than 1 MiB");
    writeFileSync(path, `ok\n${"s".repeat(70_000)}\n`);
    expect(() => findIgnoreFile(place.places(its))).toThrow(
      expect.objectContaining({
        code: "context",
        message: `${place.name(its)}:2: the line is longer than 64 KiB`,
      }),
    );
  });
});

const bound = Object.entries(places).filter(([, { inside }]) => inside !== undefined);

describe.each(bound)("P01: no link leads %s out", (_, place) => {
  test("a link that leads out is refused, its target not read", () => {
    using its = scene();
    mkdirSync(`${its.dir}-2`);
    mkdirSync(join(its.root, "ci-2"));
    for (const target of [join(its.root, "secret"), `${its.dir}-2/secret`, join(its.root, "ci-2/secret")]) {
      writeFileSync(target, "[canary");
      symlinkSync(target, place.path(its));
      refused(place, its, `is a symbolic link out of ${place.inside}`);
      execFileSync("rm", [place.path(its)]);
    }
  });

  test("links in directories do not lead out either", () => {
    using its = scene();
    writeFileSync(join(its.root, "secret"), "[canary");
    const up = join(place.path(its), "../up");
    symlinkSync(its.root, up);
    symlinkSync("up/secret", place.path(its));
    refused(place, its, `is a symbolic link out of ${place.inside}`);
  });
});

test("P01: a file that the user named may be a link to anywhere", () => {
  using its = scene();
  writeFileSync(join(its.root, "common"), "tmp\n");
  symlinkSync("../common", join(its.root, "ci/named"));
  const named = findIgnoreFile({ contextDir: its.dir, ignoreFile: join(its.root, "ci/named") });
  expect(named?.lines).toMatchObject([{ pattern: "tmp" }]);
});
