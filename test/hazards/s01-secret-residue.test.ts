import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Lab } from "../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

const CANARY = "canary-4f1c7e";
const secrets = { s: Buffer.from(`${CANARY}\n`) };

/** Files below the store that hold the secret; blobs there are not compressed. */
function residue(lab: Lab): readonly string[] {
  const found = execFileSync("sh", ["-c", `grep -rlF ${CANARY} "$1" || true`, "sh", join(lab.dir, "root")], {
    encoding: "utf8",
  });
  return found.split("\n").filter((line) => line !== "");
}

describe("S01: a secret is in no file of the store, no history, no event", () => {
  test.each([
    ["a file", "--mount=type=secret,id=s,target=/a/b/s", "test -s /a/b/s"],
    ["a variable", "--mount=type=secret,id=s,env=TOKEN", 'test -n "$TOKEN"'],
    ["both", "--mount=type=secret,id=s,env=TOKEN,target=/a/s", 'test -s /a/s && test -n "$TOKEN"'],
  ])("as %s", async (_name, flags, command) => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}RUN mkdir /a && touch -d @1000 /a
RUN ${flags} ${command} && touch /done
`;
    const build = await lab.build(file, { secrets, tags: ["it"] });
    const told = JSON.stringify(
      [build.events, build.result, await lab.cooper.history("it")],
      (_key, value) => (typeof value === "bigint" ? String(value) : (value as unknown)),
    );
    expect([residue(lab), told.includes(CANARY)]).toEqual([[], false]);
    const out = await lab.extract(build, file);
    expect(readdirSync(join(out, "a"))).toEqual([]);
    expect(statSync(join(out, "a")).mtimeMs).toBe(1_000_000);
    expect(existsSync(join(out, "run"))).toBe(false);
  });

  test("a step that writes it down is the user's own doing, and the scan would find it", async () => {
    await using lab = await openLab();
    await lab.build(`${BUSYBOX_BASE}RUN --mount=type=secret,id=s cp /run/secrets/s /leak\n`, { secrets });
    expect(residue(lab)).not.toEqual([]);
  });
});

describe("S07: nothing is left of a secret when its step", () => {
  test("fails", async () => {
    await using lab = await openLab();
    const build = lab.build(`${BUSYBOX_BASE}RUN --mount=type=secret,id=s cat /run/secrets/s; exit 1\n`, {
      secrets,
    });
    const error: unknown = await build.catch((one: unknown) => one);
    expect(error).toMatchObject({ code: "run-failed" });
    expect([residue(lab), JSON.stringify(error).includes(CANARY)]).toEqual([[], false]);
  });

  test("is killed with all of cooper", async () => {
    await using lab = await openLab();
    const seen = join(lab.dir, "v");
    mkdirSync(seen);
    await lab.build(BUSYBOX_BASE);
    const file = join(lab.dir, "Containerfile");
    const step = "test -s /run/secrets/s && touch /v/there; sleep 1000";
    writeFileSync(file, `${BUSYBOX_BASE}RUN --mount=type=secret,id=s ${step}\n`);
    const program = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));
    const argv = ["build", "-q", "--secret", "id=s,env=CANARY", "-v", `${seen}:/v`, "-f", file, lab.context];
    const child = spawn(process.execPath, [program, ...argv], {
      env: { ...process.env, COOPER_ROOT: join(lab.dir, "root"), CANARY },
      stdio: "ignore",
    });
    const closed = once(child, "close");
    for (let tries = 0; !existsSync(join(seen, "there")); tries += 1) {
      if (tries > 2000) throw new Error("the step did not begin");
      await sleep(20);
    }
    child.kill("SIGKILL");
    await closed;
    expect(residue(lab)).toEqual([]);
  });
});

test("S05: one id with another owner is another cache, and what is private or locked is so for all contexts", async () => {
  await using lab = await openLab();
  const step = (uid: number): string =>
    `${BUSYBOX_BASE}RUN --mount=type=cache,id=x,target=/c,uid=${uid} ls -A /c; touch /c/of-${uid}\n`;
  await lab.build(step(1));
  expect((await lab.build(step(2))).output).toBe("");
  expect((await lab.build(step(1), { cache: false })).output).toBe("of-1\n");
});
