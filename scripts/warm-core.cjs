// Makes dist/core.cache: V8's machine code of core.source.cjs after a cached build ran in it. Argument: the dist directory.
"use strict";
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { Script } = require("node:vm");

const dist = process.argv[2];
const filename = join(dist, "core.source.cjs");
const source = `(function(exports,require,module,__filename,__dirname){${readFileSync(filename, "utf8")}\n})`;
const script = new Script(source, { filename });
const core = { exports: {} };
const local = (name) => require(name.startsWith("./") ? join(dist, name) : name);
script.runInThisContext()(core.exports, local, core, join(dist, "core.cjs"), dist);

async function warm() {
  const scratch = mkdtempSync(join(tmpdir(), "cooper-warm-"));
  try {
    writeFileSync(
      join(scratch, "Containerfile"),
      'FROM scratch\nCOPY Containerfile /\nENV A=1\nCMD ["/bin/sh"]\n',
    );
    const cooper = await core.exports.openCooper({ root: join(scratch, "root") });
    for (let i = 0; i < 2; i += 1)
      await cooper.build({ contextDir: scratch, tags: ["warm"], onEvent: () => {} });
    await cooper[Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

// Only root can build before the engine's files are in place; for others the functions that ran until then are kept.
warm()
  .catch(() => {})
  .finally(() => writeFileSync(join(dist, "core.cache"), script.createCachedData()));
