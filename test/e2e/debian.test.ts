import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BASE_SUITE, debianBaseTar } from "../support/base-image.js";
import { describeWith } from "../support/packages.js";
import { openPeers, type Peers } from "../support/peers.js";
import { startRegistry } from "../support/registry.js";
import { cooper, execute, imageIdOf, stepsOf, type CommandResult } from "./command.js";

const PROGRAM = `#include <stdio.h>
#include <unistd.h>
int main(void) { printf("%s, uid %d\\n", "first text", (int)getuid()); return 0; }
`;

const NEEDS = [
  "root",
  "mounts",
  "apt",
  "mmdebstrap",
  "docker-registry",
  "openssl",
  "skopeo",
  "buildah",
  "podman",
  "umoci",
  "crun",
];

/** A real Debian, a real registry, a real compiler; and every other tool must accept what comes out. */
describeWith(NEEDS, "a C program for Debian, from source to registry", () => {
  const user = "builder";
  const password = "correct horse";
  const creds = `${user}:${password}`;
  let dir: string;
  let peers: Peers;
  let registry: Awaited<ReturnType<typeof startRegistry>>;
  let base: string;
  let destination: string;
  let root: string;
  let context: string;

  const build = (...flags: readonly string[]): Promise<CommandResult> =>
    cooper(
      [
        "build",
        "--jobs",
        "1",
        "--creds",
        creds,
        "--cert-dir",
        registry.certDir,
        "-t",
        "hello",
        ...flags,
        context,
      ],
      {
        root,
      },
    );

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "cooper-e2e-"));
    root = join(dir, "store");
    context = join(dir, "context");
    peers = openPeers();
    registry = await startRegistry({ tls: true, htpasswd: { user, password } });
    base = `${registry.host}/debian:${BASE_SUITE}`;
    destination = `${registry.host}/team/hello:1.0`;
    await pushBase(await debianBaseTar());
    writeContext();
  }, 600_000);

  afterAll(async () => {
    await peers?.close();
    await registry?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
  });

  /** The base comes from somebody else's tool, as it does for users. */
  async function pushBase(tar: string): Promise<void> {
    const baseContext = join(dir, "base");
    mkdirSync(baseContext);
    await linkOrCopy(tar, join(baseContext, "base.tar"));
    writeFileSync(join(baseContext, "Containerfile"), 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n');
    await peers.buildah(["build", "-t", "localhost/base", baseContext]);
    await peers.buildah([
      "push",
      "--creds",
      creds,
      "--cert-dir",
      registry.certDir,
      "localhost/base",
      `docker://${base}`,
    ]);
  }

  function writeContext(): void {
    mkdirSync(context);
    writeFileSync(join(context, "hello.c"), PROGRAM);
    writeFileSync(join(context, "README"), "not copied\n");
    writeFileSync(
      join(context, "Containerfile"),
      `FROM ${base} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY hello.c ./
RUN gcc -O2 -Wall -Werror -o /hello hello.c && /hello

FROM ${base}
COPY --from=build /hello /usr/local/bin/hello
USER nobody
CMD ["hello"]
`,
    );
  }

  let firstId: string;

  test("builds: apt and the compiler work inside RUN", async () => {
    const result = await build();
    firstId = imageIdOf(result);
    expect(result.output).toContain("first text, uid 0");
    expect(result.output).toContain("Successfully tagged localhost/hello:latest");
    expect(result.output).not.toContain("Using cache");
  }, 300_000);

  test("builds again: every step is cached and the image is the same", async () => {
    const result = await build("--progress", "json");
    expect(imageIdOf(result)).toBe(firstId);
    expect(stepsOf(result).map(({ outcome }) => outcome)).toEqual(Array.from({ length: 7 }, () => "cached"));
    expect((await build()).output).not.toContain("Cache miss");
  });

  test("a file that no step reads changes nothing", async () => {
    writeFileSync(join(context, "README"), "changed\n");
    expect(imageIdOf(await build())).toBe(firstId);
  });

  test("the result runs", async () => {
    const { stdout } = await cooper(["run", "--rm", "hello"], { root });
    expect(stdout).toBe("first text, uid 65534\n");
  });

  test("pushes to an untrusted registry only when told to, and with its CA without being told", async () => {
    const push = (...flags: readonly string[]): Promise<CommandResult> =>
      cooper(["push", "--creds", creds, ...flags, "hello", destination], { root, mayFail: true });
    const refused = await push();
    expect(refused.status).toBe(125);
    expect(refused.stderr).toMatch(/certificate/i);
    expect((await push("--tls-verify=false")).status).toBe(0);
    expect((await push("--cert-dir", registry.certDir)).status).toBe(0);
  });

  test("refuses wrong credentials, and takes those that login stored", async () => {
    const authFile = join(dir, "auth.json");
    const options = { root, env: { REGISTRY_AUTH_FILE: authFile }, mayFail: true };
    const push = (): Promise<CommandResult> =>
      cooper(["push", "--cert-dir", registry.certDir, "hello", destination], options);
    expect((await push()).status).toBe(125);
    const login = ["login", "-u", user, "--password-stdin", "--cert-dir", registry.certDir, registry.host];
    expect((await cooper(login, { ...options, input: "wrong" })).status).toBe(125);
    expect((await cooper(login, { ...options, input: password })).stdout).toContain("Login Succeeded!");
    expect((await push()).status).toBe(0);
    expect((await cooper(["logout", registry.host], options)).status).toBe(0);
    expect((await push()).status).toBe(125);
  });

  test("skopeo reads and copies it", async () => {
    const access = ["--creds", creds, "--cert-dir", registry.certDir];
    const { stdout } = await peers.skopeo(["inspect", "--config", ...access, `docker://${destination}`]);
    expect(JSON.parse(stdout)).toMatchObject({ os: "linux", config: { Cmd: ["hello"], User: "nobody" } });
    await peers.skopeo([
      "copy",
      "--src-creds",
      creds,
      "--src-cert-dir",
      registry.certDir,
      `docker://${destination}`,
      `oci:${dir}/layout:hello`,
    ]);
    expect(JSON.parse(readFileSync(join(dir, "layout/index.json"), "utf8"))).toHaveProperty(
      "manifests.length",
      1,
    );
  });

  test("podman pulls and runs it", async () => {
    await peers.podman(["pull", "--creds", creds, "--cert-dir", registry.certDir, destination]);
    const { stdout } = await peers.podman(["run", "--rm", destination]);
    expect(stdout).toBe("first text, uid 65534\n");
  });

  test("umoci unpacks it, and crun runs what it unpacked", async () => {
    const bundle = join(dir, "bundle");
    await peers.umoci(["unpack", "--image", `${dir}/layout:hello`, bundle]);
    const path = join(bundle, "config.json");
    const config = JSON.parse(readFileSync(path, "utf8")) as {
      process: { terminal: boolean; rlimits?: unknown };
    };
    config.process.terminal = false;
    delete config.process.rlimits;
    writeFileSync(path, JSON.stringify(config));
    const { stdout } = await peers.crun([
      "--cgroup-manager=disabled",
      "run",
      "--bundle",
      bundle,
      `cooper-e2e-${process.pid}`,
    ]);
    expect(stdout).toBe("first text, uid 65534\n");
  });

  test("a changed source file rebuilds the steps from its COPY on, and says why", async () => {
    writeFileSync(join(context, "hello.c"), PROGRAM.replace("first text", "second text"));
    const result = await build("--progress", "json");
    expect(imageIdOf(result)).not.toBe(firstId);
    expect(stepsOf(result).map(({ text, outcome }) => `${text.split(" ")[0]} ${outcome}`)).toEqual([
      "RUN cached",
      "WORKDIR cached",
      "COPY built",
      "RUN built",
      "COPY built",
      "USER built",
      "CMD built",
    ]);
    expect(result.stderr).toMatch(/"cache-miss".*hello\.c/);
    expect((await cooper(["run", "--rm", "hello"], { root })).stdout).toBe("second text, uid 65534\n");
  });

  test("what was pushed is what is pulled", async () => {
    const other = join(dir, "other-store");
    await cooper(["pull", "--creds", creds, "--cert-dir", registry.certDir, destination], { root: other });
    const { stdout } = await cooper(["run", "--rm", destination], { root: other });
    expect(stdout).toBe("first text, uid 65534\n");
  });

  async function linkOrCopy(from: string, to: string): Promise<void> {
    try {
      linkSync(from, to);
    } catch {
      copyFileSync(from, to);
    }
    await execute("chmod", ["644", to]);
  }
});
