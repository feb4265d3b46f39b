// Makes core.cache: V8's machine code of what a fully cached build runs of core.source.cjs. Argument: the dist directory.
"use strict";
const { spawnSync } = require("node:child_process");
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { Script } = require("node:vm");

const dist = process.argv[2];
const scratch = mkdtempSync(path.join(tmpdir(), "cooper-warm-"));
writeFileSync(
  path.join(scratch, "Containerfile"),
  'FROM scratch\nCOPY Containerfile /\nENV A=1\nLABEL b=2\nCMD ["/bin/sh"]\n',
);
const args = ["--root", path.join(scratch, "root"), "build", "-t", "warm", scratch];

// Where this cannot build, what ran until then is kept: the cache is then smaller, not wrong.
spawnSync(process.execPath, [path.join(dist, "cooper.cjs"), ...args], { stdio: "ignore" });

const filename = path.join(dist, "core.source.cjs");
const source = `(function(exports,require,module,__filename,__dirname){${readFileSync(filename, "latin1")}\n})`;
const script = new Script(source, { filename });
process.on("exit", () => {
  writeFileSync(path.join(dist, "core.cache"), script.createCachedData());
  rmSync(scratch, { recursive: true, force: true });
  process.exitCode = 0;
});
const core = { exports: {} };
const local = (name) => require(name.startsWith("./") ? path.join(dist, name) : name);
script.runInThisContext()(core.exports, local, core, path.join(dist, "cooper.cjs"), dist);
process.argv = [process.execPath, path.join(dist, "cooper.cjs"), ...args];
core.exports.start();
