// What is measured: each row makes a Containerfile and a context, and says how good is good enough.
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const BASE = "localhost/bench-base";

/**
 * `prepare(stage)` returns the build of one round: {file, context}. Rows that are not `cached` get new content in every
 * round, the same for all tools of the round. `bars`: what the ratio of cooper's median to another's must not exceed.
 */
export const rows = [
  {
    id: "cached",
    title: "fully cached rebuild, 5 steps, small context",
    cached: true,
    bars: { buildah: 0.5, "node -e 0": 1.6 },
    prepare: (stage) => ({
      file: containerfile(stage, "cached", [
        "RUN echo one > /one",
        "COPY . /app",
        "RUN echo two > /two",
        'CMD ["sh"]',
      ]),
      context: smallContext(stage),
    }),
  },
  {
    id: "run20",
    title: "20 steps of `RUN true`, uncached",
    bars: { buildah: 0.25 },
    prepare: (stage) => {
      const nonce = randomBytes(6).toString("hex");
      const steps = Array.from({ length: 20 }, (_, i) => `RUN true # ${i} ${nonce}`);
      return { file: containerfile(stage, "run20", steps), context: smallContext(stage) };
    },
  },
  {
    id: "step",
    title: "one step of `RUN true`, uncached: (20 steps - 1 step) / 19",
    bars: { buildah: 0.15 },
    // Beside a process that is only started: what a step may cost more, ms.
    spawn: { most: 40 },
    prepare: (stage, steps) => {
      const nonce = randomBytes(6).toString("hex");
      const lines = Array.from({ length: steps }, (_, i) => `RUN true # ${i} ${nonce}`);
      return { file: containerfile(stage, `step${steps}`, lines), context: smallContext(stage) };
    },
  },
  {
    id: "chroot-diff",
    title: "chroot driver: a step that changes 10 files of more than 30,000, its whole duration",
    bars: {},
    // ms, by the build's own clock: process, comparison and layer together.
    step: { most: 500 },
    prepare: (stage) => {
      const changed = "for d in 1 2 3 4 5 6 7 8 9 10; do echo changed > /app/d$d/f$d; done";
      const more = "mkdir /more; cd /more; seq 2000 | while read -r i; do : > $i; done";
      const lines = ["COPY . /app", `RUN ${more}`, `RUN ${changed} # ${randomBytes(6).toString("hex")}`];
      return { file: containerfile(stage, "chroot-diff", lines), context: manyFiles(stage) };
    },
  },
  {
    id: "copy-many",
    title: "`COPY` of 20,000 small files, uncached",
    bars: { buildah: 0.5 },
    prepare: (stage) => ({
      file: containerfile(stage, "copy-many", ["COPY . /app"]),
      context: manyFiles(stage),
    }),
  },
  {
    id: "copy-large",
    title: "`COPY` of one 1 GiB file, uncached",
    bars: { buildah: 0.5 },
    prepare: (stage) => ({
      file: containerfile(stage, "copy-large", ["COPY blob /blob"]),
      context: largeFile(stage),
    }),
  },
];

export { BASE };

function containerfile(stage, name, steps) {
  const path = join(stage, `${name}.Containerfile`);
  writeFileSync(path, [`FROM ${BASE}`, ...steps, ""].join("\n"));
  return path;
}

function smallContext(stage) {
  const dir = join(stage, "small");
  if (existsSync(dir)) return dir;
  mkdirSync(join(dir, "src"), { recursive: true });
  for (let i = 0; i < 20; i++)
    writeFileSync(join(dir, "src", `file${i}.txt`), randomBytes(1000).toString("hex"));
  return dir;
}

/** 20,000 files of 2 to 8 KB in 400 directories, all new. */
function manyFiles(stage) {
  const dir = join(stage, "many");
  rmSync(dir, { recursive: true, force: true });
  for (let d = 0; d < 400; d++) mkdirSync(join(dir, `d${d}`), { recursive: true });
  const bytes = randomBytes(16 << 10);
  for (let i = 0; i < 20_000; i++) {
    bytes.writeUInt32LE(i, 0);
    writeFileSync(join(dir, `d${i % 400}`, `f${i}`), bytes.subarray(0, 2048 + ((i * 7919) % 6144)));
  }
  return dir;
}

/** The file is made once; later rounds overwrite a little of its head, middle and end. */
function largeFile(stage) {
  const dir = join(stage, "large");
  const path = join(dir, "blob");
  const fresh = !existsSync(path);
  if (fresh) mkdirSync(dir);
  const fd = openSync(path, fresh ? "w" : "r+");
  try {
    if (fresh) for (let i = 0; i < 64; i++) writeSync(fd, randomBytes(16 << 20));
    for (const at of [0, 2 ** 29, 2 ** 30 - 4096]) writeSync(fd, randomBytes(4096), 0, 4096, at);
  } finally {
    closeSync(fd);
  }
  return dir;
}
