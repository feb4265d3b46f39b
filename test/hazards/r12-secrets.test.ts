import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { CooperError } from "../../src/errors.js";
import { replyError, startFakeRegistry } from "../support/fake-registry.js";
import {
  amd64,
  bearer,
  failureOf,
  fullName,
  memoryBlobs,
  openTestRoom,
  sampleImage,
  seed,
} from "../registry/samples.js";

const canary = "canary/7f3a+secret";
const token = "canary-token-5521";
const forms = [
  canary,
  encodeURIComponent(canary),
  Buffer.from(`user:${canary}`).toString("base64"),
  Buffer.from(canary).toString("base64"),
  token,
];

/** Everything that a caller could print. */
function shown(errors: readonly CooperError[], events: readonly unknown[]): string {
  const chain = (error: unknown): string =>
    error instanceof Error
      ? `${error.message} ${error.stack} ${JSON.stringify(error)} ${chain(error.cause)}`
      : "";
  return [
    ...errors.map((error) => `${chain(error)} ${error.hint}`),
    ...events.map((event) => JSON.stringify(event)),
  ].join("\n");
}

test("R12, S06: no error, event or log line shows a password or token, even when the registry repeats them", async () => {
  let fault = false;
  await using fake = await startFakeRegistry();
  fake.script = bearer({
    token: () => ({ token, expires_in: 300 }),
    next: (request, response) => {
      if (!fault) return false;
      request.resume();
      const echo = `${request.headers.authorization} ${canary} ${forms.join(" ")}`;
      return replyError(response, 503, "UNAVAILABLE", echo, { "www-authenticate": `Bearer realm="${echo}"` });
    },
  });
  await using room = openTestRoom();
  const { registry, onEvent, events } = room;
  const image = sampleImage([5000]);
  seed(fake, "app:1", image);
  const options = { creds: `user:${canary}`, onEvent, retries: 1 };
  const name = fullName(`${fake.host}/app:1`);
  const found = await registry.find(name, amd64, options);
  await registry.push(sampleImage(), fullName(`${fake.host}/new:1`), options);
  fault = true;
  const errors = [
    await failureOf(registry.find(name, amd64, options)),
    await failureOf(registry.push(sampleImage(), name, options)),
    await failureOf(
      Promise.all(found.manifest.layers.map((layer) => found.fetchLayer(layer, memoryBlobs()))),
    ),
    await failureOf(
      registry.login(
        fake.host,
        { username: "user", password: canary },
        { ...options, authFile: join(room.home, "a.json") },
      ),
    ),
    await failureOf(registry.find(name, amd64, { ...options, creds: canary })),
  ];
  expect(events.length).toBeGreaterThan(0);
  expect(errors[0]?.message).toContain("503 UNAVAILABLE");
  const text = shown(errors, events);
  for (const form of forms) expect(text).not.toContain(form);
});

test("R12: credentials in the environment are not shown either", async () => {
  await using fake = await startFakeRegistry({
    script: (_request, response) =>
      replyError(response, 401, "UNAUTHORIZED", canary, { "www-authenticate": 'Basic realm="r"' }),
  });
  await using room = openTestRoom({
    env: { CI_REGISTRY: fake.host, CI_REGISTRY_USER: "user", CI_REGISTRY_PASSWORD: canary },
  });
  const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
  expect(error.code).toBe("auth");
  expect(error.hint).toContain("the credentials are wrong");
  expect(fake.log.at(-1)?.headers.authorization).toBe(`Basic ${forms[2]}`);
  for (const form of forms) expect(shown([error], [])).not.toContain(form);
});

test("R12: login turns a readable auth file into a private one, at once", async () => {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const authFile = join(room.home, "auth.json");
  writeFileSync(authFile, "{}", { mode: 0o644 });
  const before = statSync(authFile).ino;
  await room.registry.login(fake.host, { username: "user", password: canary }, { authFile });
  expect(statSync(authFile).mode & 0o777).toBe(0o600);
  expect(statSync(authFile).ino).not.toBe(before);
  expect(JSON.parse(readFileSync(authFile, "utf8"))).toEqual({ auths: { [fake.host]: { auth: forms[2] } } });
});
