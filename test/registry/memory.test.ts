import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { startRegistry } from "../support/registry.js";

const SIZE = 512 * 1024 * 1024;

/** Runs in a process of its own: pushes and pulls one blob that is never whole in memory, then tells its peak RSS. */
const script = `
import { createHash } from "node:crypto";
import { openRegistry } from "./src/registry/index.js";
import { hugeBlob } from "./test/registry/samples.js";
const [host, direction] = process.argv.slice(2);
const { descriptor, source } = hugeBlob(${SIZE}, 7);
const config = Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", config: {}, rootfs: { type: "layers", diff_ids: [descriptor.digest] } }));
const hashed = (bytes) => "sha256:" + createHash("sha256").update(bytes).digest("hex");
const configDescriptor = { mediaType: "application/vnd.oci.image.config.v1+json", digest: hashed(config), size: config.length };
const manifest = { schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: configDescriptor, layers: [descriptor] };
const blobs = { read: (d) => (d.digest === descriptor.digest ? source.read(d) : (async function* () { yield config; })()), bytes: source.bytes };
const { Readable } = await import("node:stream");
const started = performance.now();
await using registry = openRegistry({ env: {}, home: "/nonexistent", uid: 4000000 });
const name = { registry: host, repository: "huge", tag: "1" };
if (direction === "push") {
  await registry.push({ manifest, manifestBytes: Buffer.from(JSON.stringify(manifest)), blobs: { ...blobs, read: (d) => Readable.from(blobs.read(d), { objectMode: false }) } }, name, {});
} else {
  const found = await registry.find(name, { os: "linux", architecture: "amd64" }, {});
  await found.fetchLayer(found.manifest.layers[0], {
    has: () => false,
    write: async (d, content) => {
      const hash = createHash("sha256");
      for await (const chunk of content) hash.update(chunk);
      if ("sha256:" + hash.digest("hex") !== d.digest) throw new Error("wrong bytes");
    },
  });
}
console.log(JSON.stringify({ rss: process.resourceUsage().maxRSS * 1024, ms: Math.round(performance.now() - started) }));
`;

test("512 MiB up and down in less than 150 MB of memory", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-registry-memory-"));
  try {
    await using server = await startRegistry();
    const bundle = join(dir, "transfer.mjs");
    const { outputFiles } = await build({
      stdin: { contents: script, resolveDir: process.cwd(), loader: "ts" },
      bundle: true,
      splitting: false,
      format: "esm",
      platform: "node",
      target: "node20.19",
      write: false,
      banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
    });
    writeFileSync(bundle, outputFiles[0]?.text ?? "");
    for (const direction of ["push", "pull"]) {
      const { stdout } = await promisify(execFile)(process.execPath, [bundle, server.host, direction]);
      const { rss } = JSON.parse(stdout) as { readonly rss: number };
      expect(rss, direction).toBeLessThan(150_000_000);
      if (process.env["COOPER_TEST_VERBOSE"]) console.log(direction, stdout);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
