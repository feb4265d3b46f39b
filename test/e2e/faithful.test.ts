import {
  chmodSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "../support/packages.js";
import { openPeers, type Peers } from "../support/peers.js";
import { startRegistry } from "../support/registry.js";
import { cooper, execute, imageIdOf } from "./command.js";

const NEEDS = ["root", "docker-registry", "openssl", "skopeo", "umoci", "setcap", "getfattr"];

/** What a root file system holds beside plain files must come out of build, push and pull as it went in. */
describeWith(NEEDS, "capabilities, setuid bits, hard links and owners survive", () => {
  const user = "builder";
  const password = "correct horse";
  let dir: string;
  let peers: Peers;
  let registry: Awaited<ReturnType<typeof startRegistry>>;
  let odd: string;
  let destination: string;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "cooper-faithful-"));
    peers = openPeers();
    registry = await startRegistry({ tls: true, htpasswd: { user, password } });
    destination = `${registry.host}/odd:1`;
    odd = join(dir, "odd");
    await writeOddTree(odd);
  });

  afterAll(async () => {
    await peers?.close();
    await registry?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
  });

  const first = (): string => join(dir, "first-store");
  const second = (): string => join(dir, "second-store");
  const access = (): readonly string[] => ["--creds", `${user}:${password}`, "--cert-dir", registry.certDir];

  test("ADD of an archive, COPY --from of the whole of it, push", async () => {
    const context = join(dir, "context");
    mkdirSync(context);
    await execute("tar", [
      "--create",
      "--format=posix",
      "--xattrs",
      "--xattrs-include=*",
      "--numeric-owner",
      "--sort=name",
      "--file",
      join(context, "odd.tar"),
      "--directory",
      odd,
      ".",
    ]);
    writeFileSync(
      join(context, "Containerfile"),
      "FROM scratch AS base\nADD odd.tar /\nFROM scratch\nCOPY --from=base / /\n",
    );
    imageIdOf(await cooper(["build", "-t", "odd", context], { root: first() }));
    await cooper(["push", ...access(), "odd", destination], { root: first() });
  });

  test("a second store pulls the same image, and its layer is the same bytes", async () => {
    await cooper(["pull", ...access(), destination], { root: second() });
    const idIn = async (root: string, name: string): Promise<unknown> =>
      (JSON.parse((await cooper(["inspect", name], { root })).stdout) as readonly { Id: string }[])[0]?.Id;
    expect(await idIn(second(), destination)).toBe(await idIn(first(), "odd"));
    const tars = await Promise.all([layerTar(first(), "odd"), layerTar(second(), destination)]);
    expect(tars[0].length).toBeGreaterThan(0);
    expect(tars[0].equals(tars[1])).toBe(true);
  });

  test("another tool unpacks from the registry the tree that went in", async () => {
    await peers.skopeo([
      "copy",
      "--src-creds",
      `${user}:${password}`,
      "--src-cert-dir",
      registry.certDir,
      `docker://${destination}`,
      `oci:${dir}/layout:odd`,
    ]);
    await peers.umoci(["unpack", "--image", `${dir}/layout:odd`, join(dir, "bundle")]);
    expect(await describeTree(join(dir, "bundle/rootfs"))).toBe(await describeTree(odd));
  });

  /** The uncompressed bytes of an image's only layer, as `save` writes it. */
  async function layerTar(root: string, name: string): Promise<Buffer> {
    const out = mkdtempSync(join(dir, "saved-"));
    await cooper(["save", "--format", "oci-dir", "-o", join(out, "layout"), name], { root });
    const blobs = join(out, "layout/blobs/sha256");
    const layer = readdirSync(blobs).find(
      (blob) => readFileSync(join(blobs, blob)).readUInt16BE(0) === 0x1f8b,
    );
    if (layer === undefined) throw new Error("the saved image has no compressed layer");
    const { gunzipSync } = await import("node:zlib");
    return gunzipSync(readFileSync(join(blobs, layer)));
  }
});

/** Everything that a plain copy loses. */
async function writeOddTree(dir: string): Promise<void> {
  mkdirSync(join(dir, "bin"), { recursive: true });
  mkdirSync(join(dir, "srv/shared"), { recursive: true });
  const file = (name: string, mode: number, uid: number, gid: number): void => {
    writeFileSync(join(dir, name), `${name}\n`);
    lchownSync(join(dir, name), uid, gid);
    chmodSync(join(dir, name), mode); // after chown, which clears setuid
  };
  file("bin/capable", 0o755, 0, 0);
  file("bin/setuid", 0o4755, 0, 0);
  file("bin/setgid", 0o2711, 12, 54_321);
  file("bin/first-name", 0o640, 4_000_000_000, 100_000);
  file("srv/secret", 0o000, 65_534, 65_534);
  linkSync(join(dir, "bin/first-name"), join(dir, "bin/second-name"));
  linkSync(join(dir, "bin/first-name"), join(dir, "srv/third-name"));
  symlinkSync("../bin/nowhere", join(dir, "srv/dangling"));
  lchownSync(join(dir, "srv/dangling"), 7, 7);
  chmodSync(join(dir, "srv/shared"), 0o3777);
  await execute("setcap", ["cap_net_raw,cap_net_bind_service+ep", join(dir, "bin/capable")]);
  await execute("setfattr", ["--name=user.origin", "--value=a test", join(dir, "bin/first-name")]);
  for (const path of ["bin/capable", "bin/setuid", "srv/shared", "bin", "srv", "."])
    utimesSync(join(dir, path), 1.5, 1_600_000_000.25);
}

/** One line per object: path, type, mode, owner, links, size, time, target; then all extended attributes. */
async function describeTree(dir: string): Promise<string> {
  const listing = await execute(
    "sh",
    [
      "-c",
      "find . -mindepth 1 -printf '%p %y %m %U:%G %n %s %T@ %l\\n' | LC_ALL=C sort | sed 's/^\\([^ ]* d [^ ]* [^ ]*\\) [0-9]* [0-9]*/\\1/'",
    ],
    { cwd: dir },
  );
  const attributes = await execute(
    "sh",
    ["-c", "find . | LC_ALL=C sort | xargs getfattr --no-dereference --dump --match=- --encoding=hex"],
    { cwd: dir },
  );
  return `${listing.stdout}\n${attributes.stdout}`;
}
