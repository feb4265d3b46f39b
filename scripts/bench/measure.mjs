// Running one command: how long it took, or how much memory it took.
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Wall time in ms. Throws with the command's output when it fails. */
export async function wallTime(command, args, env) {
  const started = process.hrtime.bigint();
  await finish(spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] }), [command, ...args]);
  return Number(process.hrtime.bigint() - started) / 1e6;
}

/**
 * Peak memory in MB: of the largest single process, and of all of them at once. Reading /proc every few ms costs time,
 * so this is a run of its own and never a timed one.
 */
export async function peakMemory(command, args, env) {
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let largest = 0;
  let together = 0;
  const timer = setInterval(() => {
    let sum = 0;
    for (const pid of processTree(child.pid)) {
      const { peak, now } = memoryOf(pid);
      largest = Math.max(largest, peak);
      sum += now;
    }
    together = Math.max(together, sum);
  }, 4);
  try {
    await finish(child, [command, ...args]);
  } finally {
    clearInterval(timer);
  }
  return { largest: largest / 1024, together: Math.max(largest, together) / 1024 };
}

function finish(child, words) {
  return new Promise((resolve, reject) => {
    let tail = "";
    const keep = (chunk) => (tail = (tail + chunk).slice(-4000));
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`${words.join(" ")}: exit ${code}\n${tail}`)),
    );
  });
}

function processTree(root) {
  const found = [root];
  for (let i = 0; i < found.length; i++) {
    for (const thread of list(`/proc/${found[i]}/task`)) {
      found.push(...text(`/proc/${found[i]}/task/${thread}/children`).split(" ").filter(Boolean).map(Number));
    }
  }
  return found;
}

function memoryOf(pid) {
  const status = text(`/proc/${pid}/status`);
  const kilobytes = (key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
  return { peak: kilobytes("VmHWM"), now: kilobytes("VmRSS") };
}

// Processes come and go while they are looked at.
function text(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function list(path) {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
