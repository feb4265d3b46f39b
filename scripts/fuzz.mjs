// `npm run fuzz`: texts changed at random, and what must hold for any text.
// The program is TypeScript (scripts/fuzz/main.ts); this bundles and starts it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "cooper-fuzz-program-"));
try {
  const outfile = join(dir, "main.mjs");
  await build({
    entryPoints: [join(root, "scripts/fuzz/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    logLevel: "warning",
    sourcemap: "inline",
  });
  process.setSourceMapsEnabled(true);
  const { main } = await import(pathToFileURL(outfile).href);
  process.exitCode = await main(process.argv.slice(2), root);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
