import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { failureOf } from "../snapshot/room.js";

let lab: Lab;
const PASSWD = "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/:/bin/sh\nbob:x:1001:1002::/:/bin/sh\n";
beforeAll(async () => {
  lab = await openLab();
  await loadBase(lab, [{ name: "etc/passwd", content: PASSWD }]);
});
afterAll(() => lab[Symbol.asyncDispose]());

test.each(["2147483648", "4294967294", "1000", "0"])(
  "C15: USER %s is this number in RUN, run and --chown",
  async (user) => {
    lab.write({ f: "x" });
    const text = `FROM ${HOSTILE}\nCOPY --chown=${user} f /f\nUSER ${user}\nRUN id -u\n`;
    const build = await lab.build(text, { tags: ["user"] });
    expect(build.output).toBe(`${user}\n`);
    expect(statSync(join(await lab.extract(build, text), "f")).uid).toBe(Number(user));
    for (const options of [{}, { user }, { user: `${user}:5` }])
      expect(await runIn(lab, "user", ["id", "-u"], options)).toEqual({ status: 0, output: `${user}\n` });
  },
);

test.each([
  "4294967295",
  "4294967296",
  "18446744073709551616",
  "-1",
  "-0",
  "+1",
  "0x0",
  "1e3",
  "1.0",
  " ",
  "0 0",
  "٠",
])("C15: the user %j is an error, never root by accident", async (user) => {
  const failures = [
    await failureOf(lab.build(`FROM ${HOSTILE}\nUSER ["${user}"]\nRUN id -u\n`)),
    await failureOf(runIn(lab, HOSTILE, ["id", "-u"], { user })),
    await failureOf(runIn(lab, HOSTILE, ["id", "-u"], { user: `0:${user}` })),
  ];
  for (const { name } of failures) expect(name).toBe("CooperError");
});

test.each(["4294967296", "-1", "0x0", "1e3", "bob:4294967296"])(
  "C15: the User %j of a base image is an error, never root by accident",
  async (user) => {
    await using other = await openLab();
    await loadBase(other, [{ name: "etc/passwd", content: PASSWD }], { config: { User: user } });
    expect((await failureOf(other.build(`FROM ${HOSTILE}\nRUN id -u\n`))).name).toBe("CooperError");
    expect((await failureOf(runIn(other, HOSTILE, ["id", "-u"]))).name).toBe("CooperError");
  },
);

test("C15: a passwd file whose ids are no ids makes nobody root", async () => {
  await using other = await openLab();
  const passwd =
    "neg:x:-1:0::/:\nbig:x:4294967296:0::/:\nword:x:zero:0::/:\nhex:x:0x0:0::/:\nnone:x::0::/:\n";
  await loadBase(other, [{ name: "etc/passwd", content: passwd }]);
  for (const user of ["neg", "big", "word", "hex", "none"])
    expect((await failureOf(runIn(other, HOSTILE, ["id", "-u"], { user }))).message).toContain(user);
  expect(readFileSync("/proc/self/status", "utf8")).toContain("Uid:\t0");
});
