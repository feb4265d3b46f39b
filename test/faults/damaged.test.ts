import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageIdOf } from "../e2e/command.js";
import { startFakeRegistry } from "../support/fake-registry.js";
import { expectNothingLeft, openFaultLab } from "./fault-lab.js";
import type { FaultLab } from "./fault-lab.js";

const VICTIM = "FROM base\nCOPY victim /victim\nRUN echo ran > /ran\nCMD cat /victim /ran\n";

let template: FaultLab;
let id: string;
beforeAll(async () => {
  template = await openFaultLab();
  template.write({ "context/victim": "the victim\n" });
  id = imageIdOf(await template.build(VICTIM, ["-t", "victim"]));
  await template.run(["save", "--format", "oci-archive", "-o", join(template.dir, "blobs.tar"), "victim"]);
});
afterAll(() => template[Symbol.dispose]());

const damages = {
  flipped: (path: string): void => {
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length / 2);
    bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at);
    writeFileSync(path, bytes);
  },
  truncated: (path: string): void => truncateSync(path, Math.floor(statSync(path).size / 2)),
  deleted: (path: string): void => rmSync(path),
} as const;

/** The files of the store that belong to the victim and not to the base, by what they are. */
function filesOf(lab: FaultLab): Readonly<Record<string, string>> {
  const config = join(lab.root, "blobs/sha256", id);
  const { rootfs } = JSON.parse(readFileSync(config, "utf8")) as { rootfs: { diff_ids: string[] } };
  const layer = join(lab.root, "layers", rootfs.diff_ids.at(-2)?.slice("sha256:".length) ?? "");
  const files: Record<string, string> = { config, "layer.json": join(layer, "layer.json") };
  const tar = join(layer, "tar");
  if (existsSync(tar)) files["tar"] = tar;
  const blob = readdirSync(layer).find((name) => name.startsWith("blob-"));
  if (blob !== undefined) {
    files["blob"] = join(lab.root, "blobs/sha256", blob.slice("blob-".length, -".json".length));
    files["blob.json"] = join(layer, blob);
  }
  files["image"] = join(
    lab.root,
    "images",
    readdirSync(join(lab.root, "images")).find((name) => name.startsWith(id)) ?? "",
  );
  return files;
}

const KINDS = ["config", "layer.json", "tar", "blob", "blob.json", "image"] as const;

describe.each([
  ["flipped", KINDS],
  ["truncated", ["config", "tar"]],
  ["deleted", KINDS],
] as const)("a file that is %s", (damage, kinds) => {
  test.each(kinds)("%s: a clear word or a repair, never a crash or another content", async (kind) => {
    const lab = await template.freshRoot();
    const file = filesOf(lab)[kind];
    // A layer may have no such form; which ones it has is the store's business.
    if (file === undefined) return expect(["tar", "blob", "blob.json"]).toContain(kind);
    damages[damage](file);
    const commands: readonly (readonly string[])[] = [
      ["inspect", "victim"],
      ["run", "--rm", "victim"],
      ["save", "-o", join(lab.dir, "out.tar"), "victim"],
    ];
    for (const command of commands) {
      const { status, stdout, stderr } = await lab.run(command, { mayFail: true });
      expect(stderr).not.toMatch(/internal error|node:internal/);
      if (status === 0 && command[0] === "run") expect(stdout).toBe("the victim\nran\n");
      if (status !== 0) {
        expect({ command, damage, kind, status, stderr }).toMatchObject({ status: 125 });
        expect(stderr.match(/^Error: /gm)).toHaveLength(1);
        // The place: which object of the store it is.
        expect(stderr).toMatch(/[0-9a-f]{12}|victim/);
      }
    }
    // Building it again, without the cache, is the way out.
    const rebuilt = await lab.build(VICTIM, ["--no-cache", "-t", "victim"]);
    expect(rebuilt).toMatchObject({ status: 0 });
    expect(await lab.run(["run", "--rm", "victim"], { mayFail: true })).toMatchObject({
      stdout: "the victim\nran\n",
    });
    rmSync(lab.root, { recursive: true });
  });
});

test.each(["config", "tar"])("a flipped %s is not pushed", async (kind) => {
  await using registry = await startFakeRegistry();
  const lab = await template.freshRoot();
  const file = filesOf(lab)[kind];
  expect(file).toBeDefined();
  // Without its compressed form a layer has to be read again to be pushed.
  const { blob } = filesOf(lab);
  if (kind === "tar" && blob !== undefined) rmSync(blob);
  damages.flipped(file ?? "");
  const push = ["push", "--tls-verify=false", "victim", `${registry.host}/victim:1`];
  const { status, stderr } = await lab.run(push, { mayFail: true });
  expect({ status, manifests: registry.manifests.size, stderr }).toMatchObject({ status: 125, manifests: 0 });
  expect(stderr.match(/^Error: .*[0-9a-f]{12}/gm)).toHaveLength(1);
});

test("the base's own damage is named by whoever builds on it", async () => {
  const lab = await template.freshRoot();
  const [image] = JSON.parse((await lab.run(["inspect", "base"])).stdout) as { Id: string }[];
  damages.flipped(join(lab.root, "blobs/sha256", image?.Id ?? ""));
  const result = await lab.build("FROM base\nRUN true\n");
  expect(result.status).toBe(125);
  expect(result.stderr).toMatch(/^Error: .*(?:damaged|corrupt|digest|missing|not in the store)/m);
});

test("nothing of it stays", async () => {
  await expectNothingLeft(template);
});
