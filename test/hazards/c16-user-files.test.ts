import { afterEach, beforeEach, expect, test } from "vitest";
import { openCanary, SECRET } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { peakOf } from "../support/peak.js";
import { failureOf } from "../snapshot/room.js";
import type { ForgedMember } from "../support/tar-forge.js";

let lab: Lab;
let canary: Canary;
beforeEach(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
  lab.write({ f: "x" });
});
afterEach(async () => {
  canary.untouched();
  await lab[Symbol.asyncDispose]();
});

/** Everything that looks a name up; the messages. All must refuse, and none may take memory. */
async function refusals(): Promise<readonly string[]> {
  const messages: string[] = [];
  const peak = await peakOf(async () => {
    for (const work of [
      () => runIn(lab, HOSTILE, ["id"], { user: "bob" }),
      () => runIn(lab, HOSTILE, ["id"], { user: "0:staff" }),
      () => lab.build(`FROM ${HOSTILE}\nUSER bob\nRUN id\n`),
      () => lab.build(`FROM ${HOSTILE}\nCOPY --chown=bob:staff f /f\n`),
    ]) {
      const { message, name } = await failureOf(work());
      expect(name).toBe("CooperError");
      expect(message).not.toContain(SECRET);
      messages.push(message);
    }
  });
  expect(peak).toBeLessThan(150 << 20);
  return messages;
}

const variants: readonly [string, (host: string) => Partial<ForgedMember>][] = [
  ["a link to /dev/zero", () => ({ type: "2", linkName: "/dev/zero" })],
  ["the device /dev/zero", () => ({ type: "3", major: 1, minor: 5 })],
  ["a FIFO", () => ({ type: "6" })],
  ["a directory", () => ({ type: "5" })],
  ["a link to a file of the host", (host) => ({ type: "2", linkName: `${host}/secret` })],
  [
    "a link that climbs to the host",
    (host) => ({ type: "2", linkName: `../../../../../../../../..${host}/secret` }),
  ],
  ["a link to the host's own passwd", () => ({ type: "2", linkName: "/proc/1/root/etc/passwd" })],
  ["a link to itself", () => ({ type: "2", linkName: "passwd" })],
];

test.each(variants)("C16: /etc/passwd and /etc/group are %s", async (_, variant) => {
  await loadBase(
    lab,
    ["passwd", "group"].map((name) => ({ name: `etc/${name}`, ...variant(canary.dir) })),
  );
  await refusals();
  // Numbers need no file; what cannot be looked at may still be an error, but nothing else.
  const status = ["grep", "^Uid", "/proc/self/status"];
  const number = await runIn(lab, HOSTILE, status, { user: "7:8" }).catch((error: Error) => error);
  if (number instanceof Error) expect(number.name).toBe("CooperError");
  else expect(number.output).toBe("Uid:\t7\t7\t7\t7\n");
});

test("C16: one line of 12 MB is not even looked through", async () => {
  const content = Buffer.alloc(12_000_000, "a");
  await loadBase(
    lab,
    ["passwd", "group"].map((name) => ({ name: `etc/${name}`, content })),
  );
  for (const message of await refusals()) expect(message).toMatch(/larger than 10 MiB/);
});

test("C16: a huge file that takes no space, made by RUN", async () => {
  const text = `FROM ${HOSTILE}\nRUN rm -f /etc/passwd; truncate -s 300M /etc/passwd\n`;
  await loadBase(lab, [{ name: "etc/", mode: 0o755 }]);
  // A tree is enough: the step that looks a name up comes before any tar is made of it.
  const failing = lab.build(`${text}USER bob\nRUN id\n`);
  const peak = await peakOf(async () => {
    expect((await failureOf(failing)).message).toMatch(/larger than 10 MiB/);
  });
  expect(peak).toBeLessThan(150 << 20);
});

test("C16: entries without number, and a user in each of them", async () => {
  const passwd = `${"x".repeat(5_000_000)}\n${"bob:x:5:6::/:\n".repeat(100_000)}`;
  const group = `staff:x:9:${"bob,".repeat(500_000)}\n`;
  await loadBase(lab, [
    { name: "etc/passwd", content: passwd },
    { name: "etc/group", content: group },
  ]);
  const peak = await peakOf(async () => {
    expect((await runIn(lab, HOSTILE, ["id", "-G"], { user: "bob" })).output).toBe("6 9\n");
  });
  expect(peak).toBeLessThan(200 << 20);
});

test("C16: a user with more groups than the kernel takes is refused in words", async () => {
  const group = Array.from({ length: 70_000 }, (_, gid) => `g${gid}:x:${gid}:bob\n`).join("");
  await loadBase(lab, [
    { name: "etc/passwd", content: "bob:x:5:6::/:\n" },
    { name: "etc/group", content: group },
  ]);
  const failure = await failureOf(runIn(lab, HOSTILE, ["id", "-G"], { user: "bob" }));
  expect(failure.name, failure.stack ?? "").toBe("CooperError");
  expect(failure.message).toMatch(/groups/);
});
