import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import type { CooperError } from "../../src/errors.js";
import { openLab } from "../support/lab.js";
import { openSite } from "../support/site.js";

const CANARY = "canary-4417";

/** Builds with ARG TOKEN; everything that a caller could print, without the Containerfile's own lines. */
async function told(line: string): Promise<string> {
  await using lab = await openLab();
  const events: unknown[] = [];
  const failure = await lab.cooper
    .build({
      contextDir: lab.context,
      containerfile: `FROM scratch\nARG TOKEN\n${line}\n`,
      buildArgs: { TOKEN: CANARY },
      onEvent: (event) => void events.push(event),
    })
    .then(
      () => undefined,
      (error: unknown) => error as CooperError,
    );
  const { message, hint, where, findings, stack } = failure ?? {};
  return JSON.stringify([message, hint, where, findings, stack, events]);
}

test.each([
  ["a URL that is none", "ADD http://host.invalid:99999/x?t=$TOKEN /x", "is not a URL"],
  ["a URL that is not there", "ADD SITE/missing?t=$TOKEN /x", "the server answered 404"],
  ["a user and password", "ADD http://me:$TOKEN@host.invalid:99999/x /x", "is not a URL"],
  ["a query that git does not know", "ADD SITE/x.git?t=$TOKEN /x", "a git URL has no query"],
  ["a URL that COPY has", "COPY SITE/x?t=$TOKEN /x", "COPY cannot fetch"],
])("S06: the token in %s is in no error and no event", async (_, line, message) => {
  await using site = await openSite();
  const all = await told(line.replace("SITE", site.url));
  expect(all).toContain(message);
  expect(all).not.toContain(CANARY);
});

test("S06: a token in a URL is in the history, as in BuildKit, and where only we can read it", async () => {
  await using site = await openSite();
  site.replies.set("/x", { body: "x" });
  await using lab = await openLab();
  const url = site.url.replace("//", "//me:$PASS@");
  const events: unknown[] = [];
  const build = (TOKEN: string) =>
    lab.cooper.build({
      contextDir: lab.context,
      containerfile: `FROM scratch AS a\nARG TOKEN PASS\nADD ${url}/x?t=$TOKEN /x\nFROM scratch\nADD ${site.url.replace("//", `//me:literal-${CANARY}@`)}/x /x\n`,
      buildArgs: { TOKEN, PASS: `pass-${CANARY}` },
      onEvent: (event) => void events.push(event),
      target: "a",
    });
  const { config } = await build(`first-${CANARY}`);
  expect(config.history?.map(({ created_by }) => created_by).at(-1)).toContain("//***@");
  expect(config.history?.map(({ created_by }) => created_by).at(-1)).toContain(`?t=first-${CANARY} /x`);
  await build(`second-${CANARY}`);
  expect(JSON.stringify(events)).not.toContain(CANARY);
  const readable = [
    "-c",
    'find "$0" -perm /077 -type f -exec grep -lF "$1" {} +; true',
    `${lab.dir}/root`,
    CANARY,
  ];
  expect(execFileSync("sh", readable).toString()).toBe("");
});
