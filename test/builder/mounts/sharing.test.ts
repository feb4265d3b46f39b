import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Lab } from "../../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";

const program = fileURLToPath(new URL("../../../dist/cooper.cjs", import.meta.url));

interface Build {
  readonly child: ChildProcess;
  readonly end: Promise<{ readonly code: number | null; readonly output: string }>;
}

/** A build as a process of its own, whose RUN sees `/v`: the directory through which a test speaks with it. */
function start(lab: Lab, name: string, flags: string, command: string): Build {
  mkdirSync(join(lab.dir, "v"), { recursive: true });
  const file = join(lab.dir, `${name}.Containerfile`);
  writeFileSync(
    file,
    `${BUSYBOX_BASE}RUN --mount=type=cache,target=/c,id=x,${flags} : ${name}; ${command}\n`,
  );
  const argv = ["build", "-q", "-v", `${lab.dir}/v:/v`, "-f", file, lab.context];
  const child = spawn(process.execPath, [program, ...argv], {
    env: { ...process.env, COOPER_ROOT: join(lab.dir, "root") },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  const end = once(child, "close").then(([code]) => ({ code: code as number | null, output }));
  return { child, end };
}

const waitFor = (name: string): string => `while [ ! -e /v/${name} ]; do sleep 0.05; done`;

async function seen(lab: Lab, name: string): Promise<void> {
  for (let tries = 0; !existsSync(join(lab.dir, "v", name)); tries += 1) {
    if (tries > 2000) throw new Error(`${name} did not come`);
    await sleep(20);
  }
}

function cacheDirs(lab: Lab): readonly string[] {
  const home = join(lab.dir, "root/cache/mounts");
  return readdirSync(home).flatMap((name) =>
    readdirSync(join(home, name)).filter((one) => /^\d+$/.test(one)),
  );
}

describe("a cache and several processes", () => {
  test("shared: both see one directory at the same time", async () => {
    await using lab = await openLab();
    await lab.build(BUSYBOX_BASE);
    const one = start(lab, "one", "sharing=shared", `touch /c/one; ${waitFor("c-two")}; ls /c`);
    const two = start(
      lab,
      "two",
      "sharing=shared",
      "while [ ! -e /c/one ]; do sleep 0.05; done; touch /c/two /v/c-two",
    );
    expect((await two.end).code).toBe(0);
    expect(await one.end).toMatchObject({ code: 0 });
    expect(cacheDirs(lab)).toEqual(["0"]);
  });

  test("locked: the second waits for the first, and sees what it left", async () => {
    await using lab = await openLab();
    await lab.build(BUSYBOX_BASE);
    const hold = `mkdir /c/held && touch /v/first; ${waitFor("go")}; rmdir /c/held; touch /c/done`;
    const first = start(lab, "first", "sharing=locked", hold);
    await seen(lab, "first");
    const second = start(lab, "second", "sharing=locked", "touch /v/second; ls /c > /v/left");
    // Long enough for it to come there, were it not to wait; whoever is slow proves nothing, and fails nothing.
    await sleep(3000);
    expect(existsSync(join(lab.dir, "v/second"))).toBe(false);
    writeFileSync(join(lab.dir, "v/go"), "");
    expect([(await first.end).code, (await second.end).code]).toEqual([0, 0]);
    expect(readFileSync(join(lab.dir, "v/left"), "utf8")).toBe("done\n");
    expect(cacheDirs(lab)).toEqual(["0"]);
  });

  test("private: the second gets another directory, and both are used again", async () => {
    await using lab = await openLab();
    await lab.build(BUSYBOX_BASE);
    const first = start(lab, "first", "sharing=private", `touch /c/mine /v/first; ${waitFor("go")}`);
    await seen(lab, "first");
    const second = start(lab, "second", "sharing=private", "ls -A /c > /v/left; touch /v/go");
    expect([(await second.end).code, (await first.end).code]).toEqual([0, 0]);
    expect(readFileSync(join(lab.dir, "v/left"), "utf8")).toBe("");
    const third = start(lab, "third", "sharing=private", "ls -A /c > /v/third");
    expect((await third.end).code).toBe(0);
    expect(readFileSync(join(lab.dir, "v/third"), "utf8")).toBe("mine\n");
    expect(cacheDirs(lab)).toEqual(["0", "1"]);
  });

  test("killed by SIGKILL, a holder holds nothing any more, and the cache is whole", async () => {
    await using lab = await openLab();
    await lab.build(BUSYBOX_BASE);
    const victim = start(lab, "victim", "sharing=locked", "touch /c/kept /v/first; sleep 1000");
    await seen(lab, "first");
    victim.child.kill("SIGKILL");
    await victim.end;
    const next = start(lab, "next", "sharing=locked", "ls /c > /v/left");
    expect((await next.end).code).toBe(0);
    expect(readFileSync(join(lab.dir, "v/left"), "utf8")).toBe("kept\n");
    expect(cacheDirs(lab)).toEqual(["0"]);
  });

  test("stages of one build share, or wait, too", async () => {
    await using lab = await openLab();
    const stage = (name: string): string => `FROM base AS ${name}
RUN --mount=type=cache,target=/c,id=x,sharing=locked mkdir /c/lock && sleep 0.3 && rmdir /c/lock && echo ${name} >> /c/log && touch /${name}
`;
    const stages = ["x", "y", "z"];
    const { output } = await lab.build(
      `${BUSYBOX_BASE}${stages.map(stage).join("")}FROM base
${stages.map((name) => `COPY --from=${name} /${name} /`).join("\n")}
RUN --mount=type=cache,target=/c,id=x sort /c/log
`,
      { jobs: 3 },
    );
    expect(output).toBe("x\ny\nz\n");
  });
});
