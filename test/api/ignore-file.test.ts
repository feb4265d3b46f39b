import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";

const CONTAINERFILE = "FROM scratch\nCOPY . /\n";

/** Names in the root of the image, and what was warned about the ignore file. */
async function built(
  lab: Lab,
  options: Partial<BuildOptions>,
): Promise<{ readonly names: readonly string[]; readonly warnings: readonly string[] }> {
  const dest = join(lab.dir, "out");
  const warnings: string[] = [];
  await lab.cooper.build({
    contextDir: lab.context,
    outputs: [{ type: "local", dest }],
    onEvent: (event) => {
      if (event.type === "warning" && event.code === "ignore-file") warnings.push(event.message);
    },
    ...options,
  });
  return { names: readdirSync(dest).toSorted(), warnings };
}

describe("the ignore file of a build", () => {
  test("the own one of a Containerfile outside of the context goes before those of the context", async () => {
    await using lab = await openLab();
    mkdirSync(join(lab.dir, "ci"));
    const file = join(lab.dir, "ci/app.Containerfile");
    writeFileSync(file, CONTAINERFILE);
    writeFileSync(`${file}.containerignore`, "*\n!a\n");
    lab.write({ a: "a", b: "b", ".dockerignore": "a\n", ".containerignore": "" });
    expect(await built(lab, { file })).toEqual({
      names: ["a"],
      warnings: [
        `${file}.containerignore is the ignore file of this build; .containerignore, .dockerignore are not read`,
      ],
    });
  });

  test("the own one of the default Containerfile", async () => {
    await using lab = await openLab();
    lab.write({ Containerfile: CONTAINERFILE, "Containerfile.dockerignore": "*\n!b\n", a: "a", b: "b" });
    expect(await built(lab, {})).toEqual({ names: ["b"], warnings: [] });
  });

  test("a named one goes before all, and leaves no choice to warn of", async () => {
    await using lab = await openLab();
    const ignoreFile = join(lab.dir, "named");
    writeFileSync(ignoreFile, "*\n!c\n");
    lab.write({
      Containerfile: CONTAINERFILE,
      "Containerfile.containerignore": "c\n",
      ".dockerignore": "c\n",
    });
    lab.write({ a: "a", c: "c" });
    expect(await built(lab, { ignoreFile })).toEqual({ names: ["c"], warnings: [] });
  });

  test("a Containerfile given as text has none of its own", async () => {
    await using lab = await openLab();
    lab.write({ "Containerfile.containerignore": "*\n", ".dockerignore": "*\n!a\n", a: "a", b: "b" });
    expect(await built(lab, { containerfile: CONTAINERFILE })).toEqual({ names: ["a"], warnings: [] });
    expect(await built(lab, { containerfile: CONTAINERFILE, file: "Containerfile" })).toMatchObject({
      names: ["a"],
    });
  });

  test("a step that was cached with another ignore file is not the same", async () => {
    await using lab = await openLab();
    lab.write({ Containerfile: CONTAINERFILE, a: "a", b: "b", one: "*\n!a\n", two: "*\n!b\n" });
    const at = (name: string): string => join(lab.context, name);
    expect((await built(lab, { ignoreFile: at("one") })).names).toEqual(["a"]);
    expect((await built(lab, { ignoreFile: at("two") })).names).toContain("b");
  });

  test("one that is named and not there is told before the first step, even where no context is read", async () => {
    await using lab = await openLab();
    const events: string[] = [];
    const build = lab.cooper.build({
      contextDir: lab.context,
      containerfile: "FROM scratch\nENV A=1\n",
      ignoreFile: join(lab.dir, "nothere"),
      onEvent: ({ type }) => events.push(type),
    });
    await expect(build).rejects.toThrow(/^there is no ignore file .*nothere$/);
    expect(events).toEqual([]);
  });
});
