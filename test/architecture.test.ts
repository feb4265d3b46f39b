import { readFileSync } from "node:fs";
import { dirname, normalize } from "node:path";
import fg from "fast-glob";
import { describe, expect, test } from "vitest";

const ground = ["source", "errors", "events", "fs", "image", "net"];
const workshops = [
  "archive",
  "parser",
  "context",
  "cache",
  "store",
  "snapshot",
  "runtime",
  "registry",
  "fetch",
];
const mayImport: Readonly<Record<string, readonly string[]>> = {
  source: [],
  errors: ["source"],
  image: ["errors", "source"],
  fs: ["errors", "image"],
  net: ["errors"],
  events: ["source", "image"],
  ...Object.fromEntries(workshops.map((room) => [room, ground])),
  lint: [...ground, "parser"],
  builder: [...ground, ...workshops, "lint"],
  cooper: ground,
  api: [...ground, ...workshops, "lint", "builder", "cooper"],
  index: [...ground, "api", "cooper", "parser", "context", "lint"],
  cli: ["index", "cooper", "errors", "events", "image", "source"],
};
const roots = [
  "src/source.ts",
  "src/errors.ts",
  "src/events.ts",
  "src/cooper.ts",
  "src/index.ts",
  "src/engine.ts",
];

const roomOf = (path: string): string => /src\/([\w-]+)/.exec(path)?.[1] ?? "";
const files = fg.sync("src/**/*.ts").toSorted();

/** Every relative import of a file, side-effect imports and dynamic ones too, as paths under src/. */
function importsOf(file: string): readonly string[] {
  const text = readFileSync(file, "utf8");
  const found = text.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)"(\.[^"]+)"/g);
  return [...found].map(([, specifier = ""]) =>
    normalize(`${dirname(file)}/${specifier}`).replace(/\.js$/, ".ts"),
  );
}

describe("rooms", () => {
  test("every file belongs to a room", () => {
    expect(files.filter((file) => !(roomOf(file) in mayImport))).toEqual([]);
  });

  test.each(files)("%s imports only what its room may", (file) => {
    const from = roomOf(file);
    const foreign = importsOf(file).filter((to) => roomOf(to) !== from);
    expect(foreign.filter((to) => !mayImport[from]?.includes(roomOf(to)))).toEqual([]);
    expect(foreign.filter((to) => !roots.includes(to) && !to.endsWith("/index.ts"))).toEqual([]);
  });

  test("only runtime/syscalls.ts knows koffi", () => {
    const users = files.filter((file) => /["']koffi["']/.test(readFileSync(file, "utf8")));
    expect(users).toEqual(users.filter((file) => file === "src/runtime/syscalls.ts"));
  });
});
