import { expect, test } from "vitest";
import type { Diagnosis } from "../../src/cooper.js";
import { cli } from "./fake-world.js";

const diagnosis: Diagnosis = {
  checks: [
    { name: "kernel", group: "system", ok: true, found: "Linux 6.1" },
    {
      name: "mount",
      group: "namespaces",
      ok: false,
      found: "Operation not permitted",
      call: "unshare",
      errno: "EPERM",
      advice: "GitLab Runner: this; Kubernetes: that",
    },
    { name: "overlay", group: "overlay", ok: "unknown", found: "cannot be tried\u001b[2J" },
  ],
  drivers: [
    {
      name: "native",
      ok: false,
      found: "no (EPERM)",
      errno: "EPERM",
      advice: "GitLab Runner: this; Kubernetes: that",
    },
    { name: "chroot", ok: true, found: "works" },
  ],
  chosen: "chroot",
};

const run = (answer: Diagnosis, ...args: readonly string[]) =>
  cli(["doctor", ...args], { cooper: { doctor: () => Promise.resolve(answer) } });

test("a table, each advice once, and what is picked", async () => {
  const { code, stdout } = await run(diagnosis);
  expect(code).toBe(0);
  expect(stdout).toBe(`GROUP       CHECK       OK          FOUND
system      kernel      yes         Linux 6.1
namespaces  mount       no          Operation not permitted (unshare EPERM)
overlay     overlay     ?           cannot be tried\\x1b[2J
driver      native      no          no (EPERM)
driver      chroot      yes         works

To change namespaces mount, driver native:
  GitLab Runner: this
  Kubernetes: that

--isolation auto picks chroot here
`);
});

test("--json prints what the library answers", async () => {
  const { code, stdout } = await run(diagnosis, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(diagnosis);
});

test("where nothing works it fails", async () => {
  const { code, stdout } = await run({ ...diagnosis, chosen: null });
  expect(code).toBe(1);
  expect(stdout).toContain("\nnothing here can isolate a process\n");
});

test("takes no operand", async () => {
  expect(await run(diagnosis, "x")).toMatchObject({ code: 125, stdout: "" });
});
