// Bundles the command and the library into dist/. Run by `npm ci` (prepare); `--fast` leaves the type declarations out.
//
// The command is CommonJS, which Node starts 10-15 ms sooner than ES modules, and comes in few pieces, since finding and
// reading a file costs about 0.4 ms each: core.source.cjs (everything of ours, its lazy imports being functions inside the
// one file), core.cache (V8's machine code of it), cooper.cjs and engine.cjs (which start it), and one file for each
// package, loaded when something first needs it.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = `${root}dist`;
const staging = `${root}dist.${process.pid}`;
const old = `${staging}.old`;
const { version, dependencies } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

/** Found through node_modules: it ships machine code beside its own script. */
const external = ["koffi"];
const packages = Object.keys(dependencies).filter((name) => !external.includes(name));

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node20.19",
  external,
  define: { COOPER_VERSION: JSON.stringify(version) },
  minify: true,
  legalComments: "none",
  logLevel: "warning",
};

const commonJs = {
  ...common,
  format: "cjs",
  supported: { "dynamic-import": false },
  define: { ...common.define, "import.meta.url": "__module.url" },
  banner: { js: 'const __module={get url(){return require("node:url").pathToFileURL(__filename).href}};' },
};

/** Replaces imports by a file of dist/ that is made on its own. */
function elsewhere(filter, file) {
  return {
    name: `elsewhere ${filter}`,
    setup: (build) =>
      build.onResolve({ filter }, ({ path, kind }) =>
        kind === "entry-point" ? undefined : { path: file(path), external: true },
      ),
  };
}

const packageFiles = elsewhere(new RegExp(`^(?:${packages.join("|")})$`), (name) => `./lib/${name}.cjs`);

const CORE = `export { start } from "./src/cli/main.js";
export const serveEngine = async () => (await import("./src/api/index.js")).serveEngine();`;

// As Node does for a CommonJS module, core.source.cjs takes all of `module.exports` for the default export: then it must be that.
const DEFAULT_IS_MODULE =
  "if(module.exports.__esModule&&module.exports.default)module.exports=Object.assign(module.exports.default,module.exports);";

async function buildCommand() {
  const builds = [
    {
      stdin: { contents: CORE, resolveDir: root, sourcefile: "core.ts", loader: "ts" },
      entryNames: "core.source",
      plugins: [packageFiles],
    },
    {
      entryPoints: {
        "sandbox-child": "src/runtime/child.ts",
        "chroot-child": "src/runtime/chroot-child.ts",
        "overlay-child": "src/runtime/doctor/overlay-child.ts",
      },
    },
    {
      entryPoints: Object.fromEntries(packages.map((name) => [`lib/${name}`, name])),
      footer: { js: DEFAULT_IS_MODULE },
    },
  ];
  await Promise.all(
    builds.map((options) =>
      build({ ...commonJs, outdir: staging, outExtension: { ".js": ".cjs" }, ...options }),
    ),
  );
  const loader = readFileSync(`${root}scripts/core-loader.cjs`, "utf8");
  writeFileSync(
    `${staging}/cooper.cjs`,
    `#!/usr/bin/env node
${loader}module.exports.start();
`,
    { mode: 0o755 },
  );
  writeFileSync(
    `${staging}/engine.cjs`,
    `${loader}module.exports.serveEngine();
`,
  );
  execFileSync(process.execPath, [`${root}scripts/warm-core.cjs`, staging], { stdio: "ignore" });
}

/**
 * esbuild's ES modules give a CommonJS package that is imported dynamically a default export only, where Node itself
 * finds its names; a module in between gives them back.
 */
const namedExports = {
  name: "named-exports",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(?:tar-stream|undici)$/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? { path, namespace: "named-exports" } : undefined,
    );
    onLoad({ filter: /./, namespace: "named-exports" }, async ({ path }) => {
      const names = Object.keys(await import(path)).filter(
        (name) => name !== "default" && /^[a-z]\w*$/i.test(name),
      );
      return {
        contents: `import cjs from "${path}"; export const { ${names.join(", ")} } = cjs;`,
        resolveDir: root,
      };
    });
  },
};

async function buildLibrary() {
  await build({
    ...common,
    format: "esm",
    splitting: true,
    plugins: [namedExports],
    entryPoints: { index: "src/index.ts" },
    outdir: staging,
    chunkNames: "esm/[name]-[hash]",
    // Some dependencies are CommonJS and call require() for Node's own modules.
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
  });
}

function buildTypes() {
  const tsc = `${root}node_modules/typescript/bin/tsc`;
  execFileSync(process.execPath, [tsc, "-p", `${root}tsconfig.types.json`, "--outDir", `${staging}/types`], {
    stdio: "inherit",
  });
}

rmSync(staging, { recursive: true, force: true });
try {
  await buildCommand();
  await buildLibrary();
  if (!process.argv.includes("--fast")) buildTypes();
  else if (existsSync(`${dist}/types`)) renameSync(`${dist}/types`, `${staging}/types`);
  // What is running keeps its files until it has ended, or nearly so: the old directory goes only when the new one stands.
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(staging, dist);
} finally {
  for (const left of [staging, old]) rmSync(left, { recursive: true, force: true });
}
