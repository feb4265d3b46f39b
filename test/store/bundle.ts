import { join } from "node:path";
import { build } from "esbuild";

/** Bundles test/store/<name>.ts, for a process of its own. */
export async function bundle(name: string, dir: string): Promise<string> {
  const outfile = join(dir, `${name}.mjs`);
  const entryPoints = [join(import.meta.dirname, `${name}.ts`)];
  await build({
    entryPoints,
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    logLevel: "error",
  });
  return outfile;
}
