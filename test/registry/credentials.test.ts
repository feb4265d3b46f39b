import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { findCredential, findCredentialSync, parseCreds } from "../../src/registry/credentials.js";
import { defaultAuthFile } from "../../src/registry/auth-file.js";
import { openTestRoom } from "./samples.js";
import type { TestRoom } from "./samples.js";

const entry = (user: string) => ({ auth: Buffer.from(`${user}:p`).toString("base64") });

function write(path: string, document: unknown): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof document === "string" ? document : JSON.stringify(document));
  return path;
}

interface Lookup {
  readonly host?: string;
  readonly repository?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly authFile?: string;
  readonly warnings?: string[];
}

/** The user that both lookups (they must agree) find. */
async function userOf(
  room: TestRoom,
  { host = "reg.example", repository = "team/app", env = {}, authFile, warnings = [] }: Lookup = {},
) {
  const places = { env: { PATH: process.env["PATH"], ...env }, home: room.home, uid: 4_000_000 };
  const query = { host, repository, authFile, warn: (message: string) => warnings.push(message) };
  const found = await findCredential(query, places);
  expect(findCredentialSync(query, places)).toEqual(found);
  return found?.identityToken === undefined ? found?.username : `token ${found.identityToken}`;
}

/** A credential helper in a directory of its own, to be put into PATH. */
function writeHelper(room: TestRoom, name: string, script: string): string {
  const dir = join(room.home, "bin");
  const path = write(join(dir, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return `${dir}:${process.env["PATH"]}`;
}

describe("where credentials are found", () => {
  test("each place in its order, and a file that lacks the host passes on to the next", async () => {
    await using room = openTestRoom();
    const { home } = room;
    const hosts = (user: string) => ({ auths: { "reg.example": entry(user) } });
    const env: Record<string, string> = {};
    expect(await userOf(room, { env })).toBeUndefined();
    Object.assign(env, { CI_REGISTRY: "reg.example", CI_REGISTRY_USER: "gitlab", CI_REGISTRY_PASSWORD: "p" });
    expect(await userOf(room, { env })).toBe("gitlab");
    env["DOCKER_AUTH_CONFIG"] = JSON.stringify(hosts("inline"));
    expect(await userOf(room, { env })).toBe("inline");
    write(join(home, ".dockercfg"), { "reg.example": entry("dockercfg") });
    expect(await userOf(room, { env })).toBe("dockercfg");
    write(join(home, ".docker/config.json"), hosts("docker"));
    expect(await userOf(room, { env })).toBe("docker");
    write(join(home, ".config/containers/auth.json"), hosts("config"));
    expect(await userOf(room, { env })).toBe("config");
    env["XDG_RUNTIME_DIR"] = join(home, "runtime");
    write(join(home, "runtime/containers/auth.json"), hosts("runtime"));
    expect(await userOf(room, { env })).toBe("runtime");
    env["REGISTRY_AUTH_FILE"] = write(join(home, "named.json"), hosts("named"));
    expect(await userOf(room, { env })).toBe("named");
    const authFile = write(join(home, "flag.json"), hosts("flag"));
    expect(await userOf(room, { env, authFile })).toBe("flag");
    for (const path of [authFile, join(home, "named.json"), join(home, "runtime/containers/auth.json")])
      write(path, { auths: { other: entry("x") } });
    expect(await userOf(room, { env, authFile })).toBe("config");
  });

  test("within a file the most specific key, then old spellings of the host", async () => {
    await using room = openTestRoom();
    const authFile = write(join(room.home, "a.json"), {
      auths: {
        "reg.example": entry("host"),
        "reg.example/team": entry("team"),
        "reg.example/team/app": entry("app"),
        "reg.example/te": entry("no"),
      },
    });
    expect(await userOf(room, { authFile })).toBe("app");
    expect(await userOf(room, { authFile, repository: "team/other" })).toBe("team");
    expect(await userOf(room, { authFile, repository: "x" })).toBe("host");
    expect(await userOf(room, { authFile, repository: "" })).toBe("host");
    for (const key of ["https://reg.example", "https://reg.example/v1/", "http://reg.example/v2/"]) {
      write(authFile, { auths: { [key]: entry("old") } });
      expect(await userOf(room, { authFile })).toBe("old");
    }
    for (const key of ["https://index.docker.io/v1/", "docker.io", "index.docker.io"]) {
      write(authFile, { auths: { [key]: entry("hub") } });
      expect(await userOf(room, { authFile, host: "docker.io", repository: "library/alpine" })).toBe("hub");
    }
    write(authFile, { auths: { "https://reg.example/v1/": {}, __proto__: entry("p") } });
    expect(await userOf(room, { authFile })).toBeUndefined();
  });

  test("identity tokens, credHelpers before credsStore before auths", async () => {
    await using room = openTestRoom();
    const path = writeHelper(
      room,
      "one",
      'read h; [ "$1" = get ] && [ "$h" = reg.example ] && echo \'{"Username":"helped","Secret":"p"}\'',
    );
    writeHelper(room, "store", 'read h; echo \'{"Username":"<token>","Secret":"idtok"}\'');
    const env = { PATH: path };
    const authFile = write(join(room.home, "a.json"), {
      credHelpers: { "reg.example": "one" },
      credsStore: "store",
      auths: { "reg.example": entry("auths") },
    });
    expect(await userOf(room, { authFile, env })).toBe("helped");
    write(authFile, { credsStore: "store", auths: { "reg.example": entry("auths") } });
    expect(await userOf(room, { authFile, env })).toBe("token idtok");
    write(authFile, { auths: { "reg.example": { ...entry("u"), identitytoken: "stored" } } });
    expect(await userOf(room, { authFile, env })).toBe("token stored");
  });

  test("a helper that fails, is missing or knows nothing gives way to what is next; its output is not shown", async () => {
    await using room = openTestRoom();
    const path = writeHelper(room, "broken", "echo canary-9d1; echo canary-9d1 >&2; exit 3");
    writeHelper(room, "empty", 'echo "credentials not found in native keychain"; exit 1');
    const warnings: string[] = [];
    const authFile = join(room.home, "a.json");
    for (const name of ["broken", "missing", "empty"]) {
      write(authFile, { credsStore: name, auths: { "reg.example": entry("next") } });
      expect(await userOf(room, { authFile, env: { PATH: path }, warnings })).toBe("next");
    }
    expect(new Set(warnings)).toEqual(
      new Set([
        "credential helper docker-credential-broken get: it exited with status 3",
        "credential helper docker-credential-missing get: it is not installed",
      ]),
    );
    write(authFile, { credsStore: "../../bin/sh" });
    await expect(userOf(room, { authFile })).rejects.toThrow("is not the name of a credential helper");
  });

  test("C19: helpers get a fixed environment", async () => {
    await using room = openTestRoom();
    const path = writeHelper(room, "env", `env > ${room.home}/seen; echo '{"Username":"u","Secret":"p"}'`);
    const authFile = write(join(room.home, "a.json"), { credsStore: "env" });
    const env = {
      PATH: path,
      NODE_OPTIONS: "--require=/evil.js",
      LD_PRELOAD: "",
      BASH_ENV: "/evil",
      CI_REGISTRY_PASSWORD: "canary",
      AWS_PROFILE: "ci",
    };
    expect(await userOf(room, { authFile, env })).toBe("u");
    const seen = readFileSync(join(room.home, "seen"), "utf8");
    expect(seen).toContain("AWS_PROFILE=ci");
    expect(seen).not.toMatch(/NODE_OPTIONS|LD_PRELOAD|BASH_ENV|canary/);
  });

  test("a file that is broken is named, never quoted", async () => {
    await using room = openTestRoom();
    const authFile = write(join(room.home, "a.json"), '{"auths": {"reg.example": {"auth": "Y2FuYXJ5"');
    await expect(userOf(room, { authFile })).rejects.toThrow(new RegExp(`^${authFile} is not valid JSON$`));
    await expect(userOf(room, { authFile: join(room.home, "missing") })).rejects.toThrow("does not exist");
    write(authFile, { auths: { "reg.example": { auth: Buffer.from("canary").toString("base64") } } });
    await expect(userOf(room, { authFile })).rejects.toThrow(
      `${authFile}: reg.example: "auth" is not the base64 of user:password`,
    );
  });

  test("GitLab's job token and dependency proxy", async () => {
    await using room = openTestRoom();
    const env = {
      CI_REGISTRY: "registry.gitlab.example",
      CI_JOB_TOKEN: "t",
      CI_DEPENDENCY_PROXY_SERVER: "gitlab.example:443",
      CI_DEPENDENCY_PROXY_USER: "proxy-user",
      CI_DEPENDENCY_PROXY_PASSWORD: "p",
    };
    expect(await userOf(room, { env, host: "registry.gitlab.example" })).toBe("gitlab-ci-token");
    expect(await userOf(room, { env, host: "gitlab.example" })).toBe("proxy-user");
    expect(await userOf(room, { env, host: "docker.io" })).toBeUndefined();
  });

  test("--creds keeps all after the first colon; login's default file is podman's", () => {
    expect(parseCreds("u:p:w")).toEqual({ username: "u", password: "p:w" });
    expect(() => parseCreds("canary")).toThrow(/^credentials must be given as user:password$/);
    const places = { home: "/h", uid: 7 };
    expect(defaultAuthFile({ ...places, env: {} })).toBe("/run/containers/7/auth.json");
    expect(defaultAuthFile({ ...places, env: { XDG_RUNTIME_DIR: "/x" } })).toBe("/x/containers/auth.json");
    expect(defaultAuthFile({ ...places, env: { XDG_RUNTIME_DIR: "/x", REGISTRY_AUTH_FILE: "/f" } })).toBe(
      "/f",
    );
  });
});
