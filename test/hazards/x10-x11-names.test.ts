import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cooper } from "../e2e/command.js";
import { openCanary } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { HOSTILE, busyboxLayer, loadBase } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { forgeDockerArchive, forgeImage } from "../support/oci-forge.js";
import { failureOf } from "../snapshot/room.js";

let lab: Lab;
let canary: Canary;
beforeAll(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
  await loadBase(lab, [{ name: "etc/passwd", content: "root:x:0:0::/:\n" }]);
});
afterAll(() => lab[Symbol.asyncDispose]());

const NAMES = [
  "../../etc",
  "..",
  "a/../../b",
  "/etc/passwd",
  "name:tag\nsecond",
  "name:\u001b[2J",
  "na\u001b]52;c;eA==\u0007me",
  "name:../x",
  "name@sha256:../../x",
  "a:b:c",
  "-rf",
  "name\0x",
  "UPPER",
];

test.each(NAMES)("X10: %j is no image name anywhere", async (name) => {
  const { cooper: api } = lab;
  for (const work of [
    () => lab.build(`FROM ${HOSTILE}\n`, { tags: [name] }),
    () => api.tag(HOSTILE, [name]),
    () => api.inspect(name),
    () => api.history(name),
    () => api.remove([name]),
    () => api.save([name], { format: "oci-archive", dest: join(lab.dir, "saved") }),
    () => api.run(name, { command: ["true"], network: "none", onOutput: () => undefined }),
    () => api.push(HOSTILE, name),
  ]) {
    const failure = await failureOf(work());
    expect(failure.name, failure.stack ?? "").toBe("CooperError");
    // oxlint-disable-next-line no-control-regex -- these are what must not be there
    expect(failure.message).not.toMatch(/[\u0000-\u001f\u007f]/);
  }
  canary.untouched();
});

test("X10: an archive's names that are none give no name", async () => {
  const image = forgeImage({ layers: [busyboxLayer()] });
  const path = join(lab.dir, "named.tar");
  writeFileSync(path, forgeDockerArchive(image, [busyboxLayer()], { RepoTags: NAMES }));
  const before = refsOf(lab);
  const names = await lab.cooper.load(path);
  for (const name of names) expect(name).toMatch(/^[a-z0-9.:/@_-]+$/);
  const strange = refsOf(lab).filter((name) => !before.includes(name));
  expect(strange.length).toBeLessThanOrEqual(names.length * 3);
  canary.untouched();
});

const refsOf = (its: Lab): readonly string[] =>
  readdirSync(join(its.cooper.root, "refs"), { recursive: true, encoding: "utf8" });

const ESCAPES = "\u001b]52;c;ZXZpbA==\u0007\u001b[2J\u001b[31mred\u009b1m\u202etxt";

test("X11: what an image says of itself steers no terminal: images, history, inspect, errors, progress", async () => {
  await loadBase(lab, [], {
    config: {
      Labels: { [ESCAPES]: ESCAPES },
      Env: ["PATH=/bin", `A=${ESCAPES}`],
      Cmd: [ESCAPES],
      Entrypoint: [ESCAPES],
      User: ESCAPES,
      WorkingDir: `/${ESCAPES}`,
      OnBuild: [`LABEL x="${ESCAPES}"`],
    },
    changes: {
      author: ESCAPES,
      history: [{ created_by: ESCAPES, comment: ESCAPES, author: ESCAPES }],
      created: "2020-01-01T00:00:00Z",
    },
  });
  lab.write({
    Containerfile: `FROM ${HOSTILE}\nLABEL a="${ESCAPES}"\nUSER 0\nWORKDIR /\n# ${ESCAPES}\nRUN ["sh", "-c", "exit 3", "${ESCAPES.replaceAll("\u001b", "\\u001b").replaceAll("\u0007", "\\u0007")}"]\n`,
    "bad.containerfile": `FROM scratch\n${ESCAPES} instruction\nCOPY "${ESCAPES}" /x\n`,
  });
  const options = { root: lab.cooper.root, mayFail: true };
  for (const args of [
    ["images", "--all"],
    ["history", HOSTILE],
    ["inspect", HOSTILE],
    ["run", "--rm", HOSTILE],
    ["run", "--rm", "--user", ESCAPES, HOSTILE],
    ["inspect", ESCAPES],
    [ESCAPES],
    ["build", "--progress", "plain", lab.context],
    ["build", "-f", join(lab.context, "bad.containerfile"), lab.context],
    ["build", "--target", ESCAPES, lab.context],
    ["lint", lab.context],
  ]) {
    const { output } = await cooper(args, options);
    // oxlint-disable-next-line no-control-regex -- these are what must not be there
    expect(output.match(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/), args.join(" ")).toBe(null);
  }
});

test("X11: the output of RUN and run is theirs, byte for byte, where it goes to a pipe", async () => {
  await loadBase(lab, []);
  const { stdout } = await cooper(["run", "--rm", HOSTILE, "printf", "\\033[31mred\\n"], {
    root: lab.cooper.root,
  });
  expect(stdout).toBe("\u001b[31mred\n");
});
