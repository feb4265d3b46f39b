// `npm run bench`: cooper beside Debian's buildah and bare Node, in one interleaved run. Prints a Markdown table.
//
//   --only=ROW[,ROW]   cached, run20, step, chroot-diff, copy-many, copy-large
//   --runs=N           timed runs of each (default 7)
//   --on=loop|tmpfs    where stores and contexts lie: an ext4 with a journal made for this run (default), or memory
//   --dir=DIR          where the ext4's file is put (default: the temp directory)
//   --tools=NAME,…     cooper,buildah
//   --strict           exit 1 when a bar is missed
//
// Identical work on one and the same disk varies several-fold from one minute to the next (creating files most of all),
// so only the ratios of one run mean anything: each round runs every tool once, in an order that turns.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median, peakMemory, wallTime } from "./bench/measure.mjs";
import { BASE, rows } from "./bench/rows.mjs";
import { enterMountNamespace, makeStage } from "./bench/stage.mjs";
import { buildah, cooper } from "./bench/tools.mjs";

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    runs: { type: "string", default: "7" },
    on: { type: "string", default: "loop" },
    dir: { type: "string", default: tmpdir() },
    tools: { type: "string", default: "cooper,buildah" },
    strict: { type: "boolean", default: false },
  },
});

const say = (line) => process.stderr.write(`${line}\n`);
const chosen =
  options.only === undefined ? rows : rows.filter(({ id }) => options.only.split(",").includes(id));
const runs = Number(options.runs);

/** Commands without a store: what they cost is what any Node program costs. */
const bareNode = { name: "node -e 0", command: [process.execPath, ["-e", "0"]], env: process.env };

async function main() {
  if (process.geteuid() !== 0)
    throw new Error("the bench mounts a file system of its own and runs buildah: it needs root");
  enterMountNamespace();
  const stage = makeStage(options.on, options.dir);
  const stop = () => {
    stage.remove();
    process.exit(130);
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    await measureAll(stage.dir);
  } finally {
    stage.remove();
  }
}

async function measureAll(stage) {
  const tools = openTools(stage);
  say("making the base image…");
  await makeBase(stage, tools);
  const results = [];
  if (tools.some(({ name }) => name === "cooper") && options.only === undefined)
    results.push(await measureVersion());
  for (const row of chosen) results.push(await measureOf(row)(row, tools, stage));
  console.log(report(tools, results));
  if (options.strict && results.some(({ cells }) => cells.some(({ holds }) => holds === false)))
    process.exitCode = 1;
}

function measureOf(row) {
  if (row.step !== undefined) return measureChroot;
  return row.spawn === undefined ? measureRow : measureStep;
}

function openTools(stage) {
  const known = { cooper, buildah };
  return options.tools.split(",").flatMap((name) => {
    if (!(name in known)) throw new Error(`no tool ${name}: cooper, buildah`);
    if (name === "buildah" && spawnSync("buildah", ["--version"]).error !== undefined) {
      say("NOT COMPARED: buildah is not installed (Debian package buildah)");
      return [];
    }
    return [known[name](stage)];
  });
}

/** Debian by mmdebstrap (its small files in memory, which is quicker) where that can be had, else busybox. */
async function makeBase(stage, tools) {
  const dir = join(stage, "base");
  const chroot = join(stage, "chroot");
  mkdirSync(dir);
  mkdirSync(chroot);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=2g,mode=0755", "cooper-bench", chroot]);
  const tar = join(dir, "rootfs.tar");
  const command = ["--quiet", "--variant=minbase", "--format=tar", "bookworm", tar, ...aptSources(stage)];
  try {
    await wallTime("mmdebstrap", command, { ...process.env, TMPDIR: chroot });
  } catch {
    say("no Debian base could be made, the base is busybox");
    const script = fileURLToPath(new URL("bench/busybox-rootfs.sh", import.meta.url));
    execFileSync("sh", [script, tar]);
  }
  execFileSync("umount", [chroot]);
  const file = join(stage, "base.Containerfile");
  writeFileSync(file, "FROM scratch\nADD rootfs.tar /\n");
  for (const tool of tools) await wallTime(...tool.build(BASE, file, dir), tool.env);
}

function aptSources(stage) {
  const found = spawnSync(
    "apt-get",
    ["indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
    {
      encoding: "utf8",
    },
  );
  const lines = (found.stdout ?? "").split("\n").filter((line) => / bookworm(-\w+)? main$/.test(line));
  if (lines.length === 0) return [];
  const path = join(stage, "sources.list");
  writeFileSync(path, `${[...new Set(lines)].join("\n")}\n`);
  return [path, '--aptopt=Acquire::Check-Valid-Until "false"'];
}

async function measureVersion() {
  const command = fileURLToPath(new URL("../dist/cooper.cjs", import.meta.url));
  const version = { name: "cooper", command: [process.execPath, [command, "--version"]], env: process.env };
  const times = await interleave(
    [version, bareNode],
    Math.max(runs, 15),
    ({ command: [program, args], env }) => wallTime(program, args, env),
  );
  return summary({ title: "`cooper --version`", bars: { "node -e 0": 1.3 } }, times, new Map());
}

async function measureRow(row, tools, stage) {
  say(`${row.id}…`);
  const name = `localhost/bench-${row.id}`;
  const memory = new Map();
  const clean = (tool) => {
    for (const [program, args] of tool.remove(name))
      execFileSync(program, args, { env: tool.env, stdio: "ignore" });
  };
  // The first run of each tool is not timed: it warms the caches, fills the store for the cached row, and is watched for memory.
  let build = row.prepare(stage);
  for (const tool of tools) {
    if (row.cached) await wallTime(...tool.build(name, build.file, build.context), tool.env);
    memory.set(tool.name, await peakMemory(...tool.build(name, build.file, build.context), tool.env));
    if (!row.cached) clean(tool);
  }
  const candidates = row.bars["node -e 0"] === undefined ? tools : [...tools, bareNode];
  const times = await interleave(candidates, runs, async (tool, isFirst) => {
    if (tool.build === undefined) return wallTime(...tool.command, tool.env);
    if (isFirst && !row.cached) build = row.prepare(stage);
    execFileSync("sync");
    const ms = await wallTime(...tool.build(name, build.file, build.context), tool.env);
    if (!row.cached) clean(tool);
    return ms;
  });
  if (row.cached) tools.forEach(clean);
  return summary(row, times, memory);
}

/** A step's share of a long build: starting the tool, reading the file and naming the image cancel out. */
async function measureStep(row, tools, stage) {
  say(`${row.id}…`);
  const name = `localhost/bench-${row.id}`;
  const timed = async (tool, steps) => {
    const build = row.prepare(stage, steps);
    execFileSync("sync");
    const ms = await wallTime(...tool.build(name, build.file, build.context), tool.env);
    for (const [program, args] of tool.remove(name))
      execFileSync(program, args, { env: tool.env, stdio: "ignore" });
    return ms;
  };
  for (const tool of tools) await timed(tool, 1);
  const spawned = { name: "spawn true", command: ["true", []], env: process.env };
  const times = await interleave([...tools, spawned], runs, async (tool) => {
    if (tool.build === undefined) return wallTime(...tool.command, tool.env);
    const one = await timed(tool, 1);
    return ((await timed(tool, 20)) - one) / 19;
  });
  const result = summary(row, times, new Map());
  const [own, bare] = ["cooper", "spawn true"].map((of) => result.cells.find((cell) => cell.name === of));
  if (own === undefined || bare === undefined) return result;
  const more = own.median - bare.median;
  const holds = more <= row.spawn.most;
  return {
    ...result,
    cells: result.cells.map((cell) =>
      cell === bare ? { ...cell, holds, note: `+${more.toFixed(1)} ms of ${row.spawn.most}` } : cell,
    ),
  };
}

/** No peer has such a driver: the last step's duration, as the build itself tells it, against a number. */
async function measureChroot(row, tools, stage) {
  say(`${row.id}…`);
  const own = tools.find(({ name }) => name === "cooper");
  if (own === undefined) return { title: row.title, cells: [] };
  const name = `localhost/bench-${row.id}`;
  const times = await interleave([own], runs, () => {
    const build = row.prepare(stage);
    const [program, args] = own.build(name, build.file, build.context);
    const extra = ["--isolation", "chroot", "--no-cache", "--progress", "json"];
    const { stderr, status } = spawnSync(program, [...args, ...extra], {
      env: own.env,
      encoding: "utf8",
      maxBuffer: 2 ** 26,
    });
    if (status !== 0) throw new Error(`${row.id}: exit ${status}\n${stderr.slice(-2000)}`);
    const events = stderr
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    return events.findLast(({ type }) => type === "step-end").durationMs;
  });
  for (const [program, args] of own.remove(name))
    execFileSync(program, args, { env: own.env, stdio: "ignore" });
  const result = summary(row, times, new Map());
  const cells = result.cells.map((cell) => ({
    ...cell,
    holds: cell.median <= row.step.most,
    note: `${row.step.most} ms`,
  }));
  return { ...result, cells };
}

/** A B C, B C A, …: no candidate always follows the same one. `isFirst`: a new round begins. */
async function interleave(candidates, count, once) {
  const times = new Map(candidates.map(({ name }) => [name, []]));
  for (let round = 0; round < count; round++) {
    for (let k = 0; k < candidates.length; k++) {
      const candidate = candidates[(k + round) % candidates.length];
      times.get(candidate.name).push(await once(candidate, k === 0));
    }
    say(
      `  round ${round + 1}: ${[...times].map(([name, all]) => `${name} ${all.at(-1).toFixed(0)} ms`).join(", ")}`,
    );
  }
  return times;
}

function summary(row, times, memory) {
  const own = times.get("cooper");
  const cells = [...times].map(([name, all]) => {
    const bar = row.bars[name];
    const ratio = own === undefined || name === "cooper" ? undefined : median(own) / median(all);
    const paired = ratio === undefined ? undefined : median(own.map((ms, i) => ms / all[i]));
    return {
      name,
      median: median(all),
      least: Math.min(...all),
      most: Math.max(...all),
      runs: all.length,
      ratio,
      paired,
      bar,
      memory: memory.get(name),
      holds: ratio === undefined || bar === undefined ? undefined : ratio <= bar,
    };
  });
  return { title: row.title, cells };
}

function report(tools, results) {
  const lines = [
    `${cpus()[0]?.model ?? "unknown processor"} x ${cpus().length}, Linux ${release()}, Node ${process.version}, stores on ${options.on === "tmpfs" ? "tmpfs" : "ext4 with a journal (loop)"}; ${tools.map((tool) => tool.version()).join("; ")}`,
    "",
    "| | tool | median ms | min | max | runs | largest process MB | all processes MB | cooper / tool | by round | bar |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
  ];
  const number = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
  for (const { title, cells } of results) {
    for (const cell of cells) {
      const wanted = cell.note ?? cell.bar;
      const bar =
        wanted === undefined || cell.holds === undefined
          ? ""
          : `${wanted} ${cell.holds ? "holds" : "MISSED"}`;
      lines.push(
        `| ${title} | ${cell.name} | ${number(cell.median, 0)} | ${number(cell.least, 0)} | ${number(cell.most, 0)} | ${cell.runs} | ${number(cell.memory?.largest, 0)} | ${number(cell.memory?.together, 0)} | ${number(cell.ratio, 2)} | ${number(cell.paired, 2)} | ${bar} |`,
      );
    }
  }
  return lines.join("\n");
}

if (!existsSync(fileURLToPath(new URL("../dist/cooper.cjs", import.meta.url))))
  execFileSync("npm", ["run", "build"], { stdio: "inherit" });
await main();
