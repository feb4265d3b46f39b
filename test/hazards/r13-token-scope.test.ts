import { expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import { amd64, bearer, fullName, openTestRoom, sampleImage, seed } from "../registry/samples.js";

test("R13: only the scopes of the name in hand are asked for, whatever the challenge says", async () => {
  await using fake = await startFakeRegistry({
    script: bearer({ token: (count) => ({ token: `t${count}`, expires_in: 300 }) }),
  });
  await using room = openTestRoom();
  const image = sampleImage([10, 20]);
  seed(fake, "base:1", image);
  await room.registry.find(fullName(`${fake.host}/base:1`), amd64, {});
  await room.registry.push(
    { ...sampleImage([30]), mountFrom: () => "base" },
    fullName(`${fake.host}/team/app:1`),
    {},
  );
  const asked = fake.log
    .filter(({ url }) => url.startsWith("/token"))
    .map(({ url }) => new URL(url, "http://x").searchParams.getAll("scope"));
  expect(asked).toEqual([
    ["repository:base:pull"],
    ["repository:team/app:pull,push"],
    // The new scope goes first.
    ["repository:base:pull", "repository:team/app:pull,push"],
  ]);
});

test("identity tokens are exchanged by OAuth2, and by GET where the server does not know that", async () => {
  let oauth = true;
  const bodies: string[] = [];
  await using fake = await startFakeRegistry();
  const plain = bearer();
  fake.script = async (request, response, log) => {
    if (request.method !== "POST" || !request.url?.startsWith("/token")) return plain(request, response, log);
    let body = "";
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    return oauth ? reply(response, 200, {}, { access_token: "oauth" }) : reply(response, 404);
  };
  seed(fake, "app:1", sampleImage());
  const env = {
    DOCKER_AUTH_CONFIG: JSON.stringify({
      auths: { [fake.host]: { username: "u", identitytoken: "id-token" } },
    }),
  };
  for (oauth of [true, false]) {
    await using room = openTestRoom({ env });
    expect((await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {})).config.os).toBe("linux");
  }
  expect(new URLSearchParams(bodies[0])).toEqual(
    new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: "id-token",
      client_id: "cooper",
      service: "fake",
      scope: "repository:app:pull",
    }),
  );
  expect(fake.log.some(({ headers }) => headers.authorization === "Bearer oauth")).toBe(true);
  expect(bodies).toHaveLength(2);
});
