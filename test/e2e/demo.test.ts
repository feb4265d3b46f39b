import {
  cpSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
  chownSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { testWith } from "../support/packages.js";
import { execute, type CommandResult } from "./command.js";

const project = fileURLToPath(new URL("../..", import.meta.url));
const NOBODY = 65_534;

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-demo-test-"));
  chmodSync(dir, 0o755);
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** What the README promises that `npm run demo` shows. */
function expectWholeDemo({ output, stdout }: CommandResult): void {
  expect(output).toContain("Successfully tagged localhost/demo-base:latest");
  expect(output).toContain("sorted 3 names");
  expect(output).toContain("Using cache");
  expect(output).toMatch(/Cache miss: .*hello\.sh/);
  expect(stdout).toMatch(/^localhost\/hello +latest +[0-9a-f]{12} /m);
  expect(stdout).toContain(
    "Hello, Ada, and welcome!\nHello, Grace, and welcome!\nHello, Mary, and welcome!\n",
  );
  expect(stdout).toContain("Good morning, Ada, and welcome!");
  expect(stdout).toMatch(/hello\.tar, \d+ kB/);
}

testWith(["root"], "npm run demo, and nothing is left behind", async () => {
  const tmp = join(dir, "tmp");
  mkdirSync(tmp);
  expectWholeDemo(
    await execute(process.execPath, [join(project, "scripts/demo.mjs")], { env: { TMPDIR: tmp } }),
  );
  expect(readdirSync(tmp)).toEqual([]);
});

testWith(["root"], "the same for a user who is not root and has nothing but user namespaces", async () => {
  // A checkout may lie where only its owner can read; what npm installs is these files.
  for (const part of [
    "dist",
    "examples",
    "scripts/demo.mjs",
    "package.json",
    "node_modules/koffi",
    "node_modules/@koromix",
  ]) {
    cpSync(join(project, part), join(dir, "project", part), { recursive: true });
  }
  const home = join(dir, "home");
  mkdirSync(home);
  chownSync(home, NOBODY, NOBODY);
  const result = await execute(
    "setpriv",
    [
      "--reuid",
      String(NOBODY),
      "--regid",
      String(NOBODY),
      "--clear-groups",
      process.execPath,
      join(dir, "project/scripts/demo.mjs"),
    ],
    {
      cwd: home,
      env: { HOME: home, TMPDIR: home },
    },
  );
  expectWholeDemo(result);
  expect(readdirSync(home)).toEqual([]);
});

test("a demo that cannot go on says so and cleans up", async () => {
  const broken = join(dir, "project");
  for (const part of ["examples", "scripts/demo.mjs"])
    cpSync(join(project, part), join(broken, part), { recursive: true });
  mkdirSync(join(broken, "dist"));
  writeFileSync(join(broken, "dist/cooper.cjs"), 'console.error("Error: refused"); process.exit(125);\n');
  const tmp = join(dir, "tmp");
  mkdirSync(tmp);
  const { status, output } = await execute(process.execPath, [join(broken, "scripts/demo.mjs")], {
    env: { TMPDIR: tmp },
    mayFail: true,
  });
  expect(status).toBe(1);
  expect(output).toContain("Error: refused");
  expect(readdirSync(tmp)).toEqual([]);
});
