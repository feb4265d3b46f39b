// `npm run compare`: what cooper makes of a Containerfile beside what buildah and BuildKit make of it.
// The program is TypeScript (scripts/compare/main.ts); this builds the command and it, and starts it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "cooper-compare-program-"));
try {
  execFileSync(process.execPath, [join(root, "scripts/build.mjs"), "--fast"], { stdio: ["ignore", 2, 2] });
  const outfile = join(dir, "main.mjs");
  await build({
    entryPoints: [join(root, "scripts/compare/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    logLevel: "warning",
  });
  const { main } = await import(pathToFileURL(outfile).href);
  process.exitCode = await main(process.argv.slice(2), root);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
