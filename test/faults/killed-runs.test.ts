import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect } from "vitest";
import { execute, imageIdOf } from "../e2e/command.js";
import { adoptOrphans, cgroupsNamed, descendants, mountsWith, ownChildren } from "../support/leftovers.js";
import { testWith } from "../support/packages.js";
import type { Need } from "../support/packages.js";
import { expectNothingLeft, openFaultLab } from "./fault-lab.js";
import { problemsOf } from "../support/store-problems.js";
import type { FaultLab } from "./fault-lab.js";

/** Give the printed one to see the same instants again. */
const SEED = Number(process.env["COOPER_TEST_SEED"] ?? randomInt(1e9));
const random = generator(SEED);
/** How long what outlives a killed cooper, to clean up, may take. */
const PATIENCE_MS = 3000;
/** For a machine that has much else to do. */
const TIMEOUT_MS = 900_000;
/** Instants in one store, ascending, so that the later builds find what the earlier ones left. */
const BATCH = 20;

/** What keeps a namespace, such as a network, without a process. */
const NAMESPACE = " - nsfs ";

const SECRET = randomBytes(24).toString("hex");

/** Two stages at once, with all that a RUN may hold open: mounts, a cache, a secret, processes that nobody waits for. */
const STAGES = `FROM base AS one
COPY tree /tree
RUN --mount=type=cache,target=/cache (setsid sleep 9) & cp -r /tree/1 /cache/; for i in 2 3 4; do cp -r /tree/$i /made-$i; done; rm -r /tree/1
RUN --mount=type=secret,id=token (trap "" TERM; wc -c </run/secrets/token >/one; sleep 0.05)
FROM base AS two
RUN --mount=type=secret,id=token --mount=type=cache,target=/cache sleep 0.05; wc -c </run/secrets/token >/two; date >/cache/now
FROM base
COPY --from=one /made-2 /made-2
COPY --from=two /two /two
RUN --mount=type=bind,from=one,target=/one cat /one/one >>/two
`;

let lab: FaultLab;
beforeAll(async () => {
  process.stderr.write(`killed-runs: COOPER_TEST_SEED=${SEED}\n`);
  adoptOrphans();
  lab = await openFaultLab();
  // Enough files to be in the middle of them, and so many that no one instant is like another.
  for (let i = 0; i < 200; i += 1)
    lab.write({ [`context/tree/${i % 20}/file-${i}`]: `content ${i}\n`.repeat(i) });
  lab.write({ stages: STAGES, token: SECRET });
});
afterAll(() => lab[Symbol.dispose]());

const KINDS: readonly (readonly [needs: readonly Need[], flags: string, instants: number])[] = [
  [["root", "mounts"], "--isolation native", 100],
  [["root", "mounts", "crun"], "--isolation oci --runtime crun", 8],
  [["root", "mounts", "runc"], "--isolation oci --runtime runc", 8],
  [["root"], "--isolation chroot", 8],
];

for (const [needs, flags, instants] of KINDS) {
  const title = `${flags}: ${instants} builds killed at any instant leave nothing`;
  testWith(needs, title, () => killedBuilds(flags, instants), TIMEOUT_MS);
}

async function killedBuilds(flags: string, instants: number): Promise<void> {
  const secret = `id=token,src=${lab.dir}/token`;
  const options = [...flags.split(" "), "-f", `${lab.dir}/stages`, "--secret", secret];
  const args = ["build", ...options, "--timestamp", "1700000000", "-t", "later", lab.context];
  const whole = await lab.freshRoot();
  const started = performance.now();
  const good = imageIdOf(await whole.run(args));
  const wholeMs = performance.now() - started;
  for (let done = 0; done < instants; done += BATCH) {
    const killed = await lab.freshRoot();
    const count = Math.min(BATCH, instants - done);
    for (let i = 0; i < count; i += 1) {
      const ms = ((i + random()) / count) * wholeMs * 1.05;
      // Every third goes on with what it finds in the cache.
      const again = i % 3 === 2 ? args : [...args, "--no-cache"];
      await killAndLook(killed, again, ms, i % 4 === 3);
    }
    expect(imageIdOf(await killed.run(args))).toBe(good);
    await expectNothingLeft(killed);
  }
}

/** One build, ended by SIGKILL after `ms`; `group` takes its process group with it. */
async function killAndLook(
  killed: FaultLab,
  args: readonly string[],
  ms: number,
  group: boolean,
): Promise<void> {
  const known = ownChildren();
  const { root } = killed;
  const namespaces = mountsWith(NAMESPACE);
  const child = killed.start(args, { stdio: "ignore", detached: true });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await sleep(ms);
  const pid = child.pid ?? 0;
  if (child.exitCode === null) process.kill(group ? -pid : pid, "SIGKILL");
  await ended;
  const found = async (): Promise<readonly string[]> => [
    ...descendants(known),
    ...mountsWith(root),
    ...mountsWith(NAMESPACE).filter((line) => !namespaces.includes(line)),
    ...cgroupsNamed(`cooper-${pid}-`),
  ];
  let left = await found();
  for (const end = performance.now() + PATIENCE_MS; left.length > 0 && performance.now() < end;) {
    await sleep(10);
    left = await found();
  }
  const when = `killed${group ? " with its group" : ""} after ${Math.round(ms)} ms, seed ${SEED}`;
  expect(left, when).toEqual([]);
  expect(await filesWithSecret(root), when).toEqual([]);
  // Trees are read once, at the end of a batch.
  expect(await problemsOf(root, { trees: false }), when).toEqual([]);
}

/** As it is, and as it travels to the helper. */
async function filesWithSecret(dir: string): Promise<readonly string[]> {
  const forms = [SECRET, Buffer.from(SECRET).toString("base64")].flatMap((text) => ["-e", text]);
  const { stdout } = await execute("grep", ["-rlF", "-D", "skip", ...forms, dir], { mayFail: true });
  return stdout.split("\n").filter((line) => line !== "");
}

/** Numbers in [0, 1) that depend on nothing but the seed: a linear congruential generator's upper bits. */
function generator(seed: number): () => number {
  let state = BigInt(seed);
  return () => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return Number(state >> 33n) / 2 ** 31;
  };
}
