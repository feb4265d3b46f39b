import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatReference, parseReference } from "../../src/image/index.js";
import { pullEndpoints, pushEndpoint, endpointName } from "../../src/registry/names.js";
import { readRegistriesConf } from "../../src/registry/registries-conf.js";
import { fullName, openTestRoom } from "./samples.js";
import type { TestRoom } from "./samples.js";

function write(path: string, text: string): void {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
}

const confOf = (room: TestRoom, env: Readonly<Record<string, string>> = {}) =>
  readRegistriesConf({ env, home: room.home, etc: room.etc });
const namesOf = (room: TestRoom, text: string) =>
  room.registry.candidates(parseReference(text)).map(formatReference);

async function roomWith(conf: string): Promise<TestRoom> {
  const room = openTestRoom();
  write(join(room.etc, "containers/registries.conf"), conf);
  return room;
}

describe("what a name may mean", () => {
  test.each([
    ["alpine", "docker.io/library/alpine:latest"],
    ["alpine:3", "docker.io/library/alpine:3"],
    ["team/app", "docker.io/team/app:latest"],
    ["docker.io/alpine", "docker.io/library/alpine:latest"],
    ["index.docker.io/alpine:1", "docker.io/library/alpine:1"],
    ["registry-1.docker.io/a/b:1", "docker.io/a/b:1"],
    [`quay.io/a/b@sha256:${"a".repeat(64)}`, `quay.io/a/b@sha256:${"a".repeat(64)}`],
    ["localhost/hello", "localhost/hello:latest"],
  ])("without configuration %s is %s", async (typed, meant) => {
    await using room = openTestRoom();
    expect(namesOf(room, typed)).toEqual([meant]);
  });

  test("search registries in order, with a path too; an alias beats them", async () => {
    await using room = await roomWith(
      'unqualified-search-registries = ["registry.corp/mirror", "docker.io"]\n[aliases]\n"base" = "registry.corp/team/base"\n',
    );
    expect(namesOf(room, "alpine:3")).toEqual([
      "registry.corp/mirror/alpine:3",
      "docker.io/library/alpine:3",
    ]);
    expect(namesOf(room, "base:7")).toEqual(["registry.corp/team/base:7"]);
  });

  test("an empty list of search registries refuses short names", async () => {
    await using room = await roomWith("unqualified-search-registries = []\n");
    expect(() => namesOf(room, "alpine")).toThrow(
      /alpine: a short name, but registries.conf has no unqualified-search-registries/,
    );
    expect(namesOf(room, "quay.io/a")).toEqual(["quay.io/a:latest"]);
  });

  test("the user's file replaces the system's; drop-ins add, replace and remove", async () => {
    await using room = await roomWith('unqualified-search-registries = ["system.example"]\n');
    write(
      join(room.etc, "containers/registries.conf.d/10.conf"),
      '[aliases]\n"a" = "one.example/a"\n"b" = "one.example/b"\n',
    );
    write(
      join(room.etc, "containers/registries.conf.d/20.conf"),
      '[aliases]\n"a" = "two.example/a"\n"b" = ""\n',
    );
    expect(confOf(room).searchRegistries).toEqual(["system.example"]);
    expect([...confOf(room).aliases]).toEqual([["a", "two.example/a"]]);
    write(
      join(room.home, ".config/containers/registries.conf"),
      'unqualified-search-registries = ["user.example"]\n',
    );
    expect(confOf(room).searchRegistries).toEqual(["user.example"]);
    expect(confOf(room).aliases.size).toBe(0);
    const own = join(room.home, "own.conf");
    const dir = join(room.home, "own.d");
    write(own, "[[registry]]\nlocation = 'a.example'\ninsecure = true\n");
    write(join(dir, "x.conf"), "[[registry]]\nlocation = 'b.example'\nblocked = true\n");
    const named = confOf(room, { CONTAINERS_REGISTRIES_CONF: own, CONTAINERS_REGISTRIES_CONF_DIR: dir });
    expect(named.rules.map((rule) => [rule.prefix, rule.insecure, rule.blocked])).toEqual([
      ["a.example", true, false],
      ["b.example", false, true],
    ]);
  });

  test.each([
    ["[registries.search]\nregistries = ['a']\n", /version 1 of the format/],
    ["a = [\n", /registries\.conf: Invalid TOML/],
    ["unqualified-search-registries = 'x'\n", /unqualified-search-registries is not a list of strings/],
    ["[[registry]]\ninsecure = true\n", /neither prefix nor location/],
    ["[[registry]]\nprefix = 'a.example'\n", /a\.example has no location/],
    ["[[registry]]\nlocation = 'https://a.example'\n", /a prefix is host/],
    [
      "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\nlocation='b'\npull-from-mirror='x'\n",
      /pull-from-mirror = "x"/,
    ],
  ])("%j is a clear error that names the file", async (text, message) => {
    await using room = await roomWith(text);
    expect(() => confOf(room)).toThrow(message);
    expect(() => confOf(room)).toThrow(join(room.etc, "containers/registries.conf"));
  });
});

describe("where a name lives", () => {
  const conf = `
[[registry]]
prefix = "docker.io"
location = "artifactory.corp/docker-remote"
[[registry.mirror]]
location = "mirror.corp:5000/hub"
insecure = true
[[registry.mirror]]
location = "pinned.corp/hub"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "docker.io/team"
location = "team.corp"
[[registry]]
prefix = "*.example.com"
insecure = true
[[registry]]
prefix = "evil.example.com"
location = "evil.example.com"
blocked = true
`;
  const pinned = `@sha256:${"0".repeat(64)}`;

  test.each([
    [
      "docker.io/alpine:3",
      ["mirror.corp:5000/hub/library/alpine (insecure)", "artifactory.corp/docker-remote/library/alpine"],
    ],
    [
      `docker.io/a/b${pinned}`,
      ["mirror.corp:5000/hub/a/b (insecure)", "pinned.corp/hub/a/b", "artifactory.corp/docker-remote/a/b"],
    ],
    ["docker.io/team/app:1", ["team.corp/app"]],
    [
      "docker.io/teamwork/app:1",
      ["mirror.corp:5000/hub/teamwork/app (insecure)", "artifactory.corp/docker-remote/teamwork/app"],
    ],
    ["sub.example.com/x", ["sub.example.com/x (insecure)"]],
    ["example.com/x", ["example.com/x"]],
    ["quay.io/x", ["quay.io/x"]],
  ])("%s is pulled from %j", async (name, places) => {
    await using room = await roomWith(conf);
    const [candidate = fullName("x.y/z")] = room.registry.candidates(fullName(name));
    const found = pullEndpoints(candidate, confOf(room));
    expect(found.map((place) => `${endpointName(place)}${place.insecure ? " (insecure)" : ""}`)).toEqual(
      places,
    );
  });

  test("pushes go to the name itself; blocked is blocked both ways", async () => {
    await using room = await roomWith(conf);
    expect(endpointName(pushEndpoint(fullName("docker.io/team/app:1"), confOf(room)))).toBe(
      "docker.io/team/app",
    );
    for (const lookup of [pullEndpoints, pushEndpoint]) {
      expect(() => lookup(fullName("evil.example.com/x:1"), confOf(room))).toThrow(
        "registries.conf blocks evil.example.com",
      );
    }
  });

  test("a location cannot smuggle anything into a URL", async () => {
    await using room = await roomWith("[[registry]]\nprefix = 'a.example'\nlocation = 'b.example/../x?y'\n");
    expect(() => pullEndpoints(fullName("a.example/n:1"), confOf(room))).toThrow(/invalid image name/);
  });
});
