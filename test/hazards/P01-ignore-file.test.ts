import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readIgnoreFile } from "../../src/context/index.js";
import { scratch } from "../context/scratch.js";

describe("P01: the ignore file is read inside the context, and only when it is a file", () => {
  test(".containerignore goes before .dockerignore; none is none", () => {
    using its = scratch();
    expect(readIgnoreFile(its.dir)).toBeUndefined();
    its.write(".dockerignore", "docker\n");
    expect(readIgnoreFile(its.dir)).toEqual({ path: `${its.dir}/.dockerignore`, patterns: ["docker"] });
    its.write(".containerignore", "# none\n");
    expect(readIgnoreFile(its.dir)).toEqual({ path: `${its.dir}/.containerignore`, patterns: [] });
  });

  test("a link inside is followed", () => {
    using its = scratch();
    its.write("ci/ignore", "tmp\n");
    symlinkSync("ci/ignore", join(its.dir, ".dockerignore"));
    expect(readIgnoreFile(its.dir)?.patterns).toEqual(["tmp"]);
  });

  const refused = (its: { readonly dir: string }, why: string): void => {
    expect(() => readIgnoreFile(its.dir)).toThrow(
      expect.objectContaining({ code: "context", message: `the ignore file .dockerignore ${why}` }),
    );
  };

  test.each(["secret", "../context-2/secret"])(
    "a link out of the context (%s) is refused, its target not read",
    (target) => {
      using its = scratch();
      mkdirSync(`${its.dir}-2`);
      for (const path of [join(its.root, "secret"), `${its.dir}-2/secret`]) writeFileSync(path, "[canary");
      symlinkSync(target === "secret" ? join(its.root, target) : target, join(its.dir, ".dockerignore"));
      refused(its, "is a symbolic link out of the context");
    },
  );

  test("links in directories do not lead out either", () => {
    using its = scratch();
    writeFileSync(join(its.root, "secret"), "canary");
    symlinkSync(its.root, join(its.dir, "up"));
    symlinkSync("up/secret", join(its.dir, ".dockerignore"));
    refused(its, "is a symbolic link out of the context");
  });

  test("a dangling link, a directory, a FIFO, a device", () => {
    using its = scratch();
    const path = join(its.dir, ".dockerignore");
    const again = (make: () => void, why: string): void => {
      make();
      refused(its, why);
      execFileSync("rm", ["-rf", path]);
    };
    again(() => symlinkSync("none", path), "is a symbolic link to nothing");
    again(() => mkdirSync(path), "is not a regular file");
    again(() => execFileSync("mkfifo", [path]), "is not a regular file");
    again(() => execFileSync("mknod", [path, "c", "1", "5"]), "is not a regular file");
  });

  test("at most 1 MiB, lines at most 64 KiB, nothing of them in the message", () => {
    using its = scratch();
    its.write(".dockerignore", "a\n".repeat(512 * 1024));
    expect(readIgnoreFile(its.dir)?.patterns).toHaveLength(512 * 1024);
    its.write(".dockerignore", "a\n".repeat(512 * 1024 + 1));
    refused(its, "is larger than 1 MiB");
    truncateSync(join(its.dir, ".dockerignore"), 100_000_000);
    refused(its, "is larger than 1 MiB");
    its.write(".dockerignore", `ok\n${"s".repeat(70_000)}\n`);
    expect(() => readIgnoreFile(its.dir)).toThrow(
      expect.objectContaining({
        code: "context",
        message: ".dockerignore:2: the line is longer than 64 KiB",
      }),
    );
  });
});
