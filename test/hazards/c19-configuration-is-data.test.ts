import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCanary } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { failureOf } from "../snapshot/room.js";

let lab: Lab;
let canary: Canary;
beforeEach(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
});
afterEach(async () => {
  canary.untouched();
  await lab[Symbol.asyncDispose]();
});

test("C19: variables of an image are the command's alone: nothing of ours starts by them", async () => {
  const trap = join(lab.dir, "e.cjs");
  const mark = join(lab.dir, "PWN");
  writeFileSync(trap, `require("node:fs").writeFileSync(${JSON.stringify(mark)}, process.argv.join(" "));`);
  const evil = join(lab.dir, "evil");
  mkdirSync(evil);
  for (const name of ["slirp4netns", "pasta", "sh", "unshare", "setpriv", "ip", "node", "xz", "stty"])
    writeFileSync(join(evil, name), `#!/bin/sh\necho "$0" >${mark}\n`, { mode: 0o755 });
  const Env = [
    `NODE_OPTIONS=--require=${trap}`,
    `LD_PRELOAD=${trap}`,
    `PATH=${evil}:/bin`,
    "COOPER_ROOT=/evil",
    "TMPDIR=/evil",
    `BASH_ENV=${trap}`,
    "HTTPS_PROXY=http://evil.invalid",
    "__proto__=x",
  ];
  await loadBase(lab, [], { config: { Env } });
  lab.write({ f: "x" });
  const file = `FROM ${HOSTILE}\nCOPY f /f\nRUN env | sort\n`;
  const { output } = await lab.build(file);
  for (const line of Env.slice(0, 6)) expect(output).toContain(`${line}\n`);
  // What a first build may have left in our own environment, programs of a second would start with.
  await lab.build(file, { cache: false });
  expect((await runIn(lab, HOSTILE, ["env"])).output).toContain(`LD_PRELOAD=${trap}\n`);
  expect(existsSync(mark)).toBe(false);
  expect(existsSync("/evil")).toBe(false);
});

test("C19: names that are no variables' are refused or left out, and break nothing", async () => {
  for (const line of ["=x", "", "no-equals-sign", "A=\u0001\u001b[2J", "=", "A==b"]) {
    await loadBase(lab, [], { config: { Env: ["PATH=/bin", line] } });
    expect((await runIn(lab, HOSTILE, ["sh", "-c", "echo $A"])).status).toBe(0);
  }
  await loadBase(lab, [], { config: { Env: ["PATH=/bin", "A\0B=c", "C=d\0e"] } }).then(
    async () => {
      const { name } = await failureOf(runIn(lab, HOSTILE, ["env"]));
      expect(name).toBe("CooperError");
    },
    (error: Error) => expect(error.name).toBe("CooperError"),
  );
  // The escape that stands for it in JSON is text as any other.
  await loadBase(lab, [], { config: { Env: ["PATH=/bin", "A=\\u0000"] } });
  expect((await runIn(lab, HOSTILE, ["env"])).output).toContain("A=\\u0000\n");
  for (const Env of [[1], {}, "A=b", [null]]) {
    const failure = await failureOf(
      loadBase(lab, [], { config: { Env } }).then(() => runIn(lab, HOSTILE, ["true"])),
    );
    expect(failure.name).toBe("CooperError");
  }
});

test("C19: labels change nothing but themselves", async () => {
  const Labels = {
    "io.cooper.root": canary.dir,
    "io.cooper.privileged": "true",
    "io.buildah.version": "9",
    "io.containers.autoupdate": "registry",
    __proto__: "x",
    constructor: "y",
  };
  await loadBase(lab, [], { config: { Labels } });
  const { output } = await runIn(lab, HOSTILE, ["grep", "-E", "CapBnd|Seccomp:", "/proc/self/status"]);
  expect(output).toBe("CapBnd:\t00000000800405fb\nSeccomp:\t2\n");
  expect((await lab.cooper.inspect(HOSTILE)).config.config.Labels).toMatchObject({ constructor: "y" });
});

test.each([
  "RUN --security=insecure id",
  "RUN --mount=type=bind,source=/,target=/host,from=/ cat /host/etc/passwd",
  "COPY --unknown=1 a b",
  "RUN --unknown id",
  "FROM scratch",
  "ONBUILD RUN id",
  "NOSUCH instruction",
  "COPY ../../../../etc/passwd /p",
])("C19: the trigger %j of a base image gets no further than in a file", async (trigger) => {
  await loadBase(lab, [], { config: { OnBuild: [trigger] } });
  const failure = await failureOf(lab.build(`FROM ${HOSTILE}\nRUN touch /ran\n`));
  expect(failure.name).toBe("CooperError");
  expect(readdirSync(join(lab.cooper.root, "tmp"))).toEqual([]);
});
