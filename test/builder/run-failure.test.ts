import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildOptions, CooperEvent } from "../../src/index.js";
import { CooperError } from "../../src/index.js";
import { processesWith } from "../support/processes.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

interface Failure {
  readonly error: CooperError;
  readonly events: readonly CooperEvent[];
}

async function failing(containerfile: string, options: Partial<BuildOptions>): Promise<Failure> {
  const events: CooperEvent[] = [];
  const onEvent = (event: CooperEvent): void => void events.push(event);
  const error = await lab.build(containerfile, { ...options, onEvent }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CooperError)) throw new Error(`not a failure: ${String(error)}`);
  return { error, events };
}

const kept = ({ events }: Failure): string | undefined =>
  events.flatMap((event) => (event.type === "kept" ? [event.imageId] : [])).at(0);

async function outputOf(image: string, command: readonly string[]): Promise<string> {
  let text = "";
  await lab.cooper.run(image, {
    command,
    onOutput: (_stream, chunk) => (text += Buffer.from(chunk).toString()),
  });
  return text;
}

describeWith(["root", "mounts", "busybox"], "a RUN that takes too long", () => {
  test("is killed with all that it started, and the build fails with timeout(1)'s code", async () => {
    const marker = `4${process.pid}01`;
    const sleeper = `sleep ${marker}`;
    const failure = await failing(
      `${BUSYBOX_BASE}RUN trap "" TERM; (setsid ${sleeper}) & ${sleeper} & echo ready; while :; do ${sleeper}; done\n`,
      { runTimeoutMs: 700 },
    );
    expect(failure.error).toMatchObject({ code: "run-failed", exitCode: 124, where: "Containerfile:4:1" });
    expect(failure.error.message).toMatch(
      /: the command ran longer than --run-timeout 0\.7s and was stopped$/,
    );
    expect(failure.events).toContainEqual(
      expect.objectContaining({ type: "step-failed", reason: "timeout", exitCode: 124, next: "stop" }),
    );
    expect(processesWith(marker)).toEqual([]);
    // The same cooper goes on as if nothing had been.
    expect((await lab.build(`${BUSYBOX_BASE}RUN echo after\n`, { runTimeoutMs: 60_000 })).output).toBe(
      "after\n",
    );
  });

  test("each RUN has the whole time", async () => {
    const text = `${BUSYBOX_BASE}RUN sleep 0.6 # a\nRUN sleep 0.6 # b\nRUN sleep 0.6 # c\n`;
    expect((await lab.build(text, { runTimeoutMs: 1700 })).built).toHaveLength(3);
  });

  test("a caller's abort is no timeout", async () => {
    const controller = new AbortController();
    const build = lab.build(`${BUSYBOX_BASE}RUN echo go; sleep 60\n`, {
      runTimeoutMs: 60_000,
      signal: controller.signal,
      onEvent: ({ type }) => type === "output" && controller.abort(),
    });
    await expect(build).rejects.toMatchObject({ code: "aborted" });
  });
});

describeWith(["root", "mounts", "busybox"], "onFailure keep", () => {
  const STEP = "RUN echo left > /left; rm /bin/vi; exit 3";

  test("makes an image of what the step left, with the stage's config", async () => {
    const failure = await failing(`${BUSYBOX_BASE}ENV WHO=me\nWORKDIR /w\nCMD ["ls"]\n${STEP}\n`, {
      onFailure: "keep",
      labels: { never: "this" },
    });
    const id = kept(failure) ?? "";
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(failure.error).toMatchObject({ code: "run-failed", exitCode: 3 });
    expect(failure.error.hint).toBe(
      `what it left is kept as ${id.slice(0, 12)}; to look at it: cooper run --rm -it ${id.slice(0, 12)} sh`,
    );
    const { config, intermediate } = await lab.cooper.inspect(id);
    expect(config.config).toMatchObject({ WorkingDir: "/w", Cmd: ["ls"] });
    expect(config.config.Labels).toBeUndefined();
    expect(config.history.at(-1)).toMatchObject({ comment: "failed: exit status 3" });
    expect(intermediate).toBe(false);
    expect(await outputOf(id.slice(0, 12), ["sh", "-c", "pwd; echo $WHO; cat /left; ls /bin/vi"])).toBe(
      "/w\nme\nleft\nls: /bin/vi: No such file or directory\n",
    );
    await lab.cooper.remove([id]);
  });

  test("what is kept is never taken for the step, not even when all times are fixed", async () => {
    const text = `${BUSYBOX_BASE}RUN sleep 1.2\n`;
    const options: Partial<BuildOptions> = { sourceDateEpoch: 1_000_000, rewriteTimestamps: "all" };
    const failure = await failing(text, { ...options, onFailure: "keep", runTimeoutMs: 300 });
    const good = await lab.build(text, options);
    expect(good.built).toContain("RUN sleep 1.2");
    expect(good.result.imageId).not.toBe(`sha256:${kept(failure) ?? ""}`);
  });

  test("works after a timeout, and with an entrypoint and SHELL says how to get in", async () => {
    const failure = await failing(
      `${BUSYBOX_BASE}ENTRYPOINT ["echo"]\nSHELL ["/bin/ash", "-c"]\nRUN echo x > /x; sleep 100\n`,
      { onFailure: "keep", runTimeoutMs: 500 },
    );
    const short = kept(failure)?.slice(0, 12);
    expect(failure.error.exitCode).toBe(124);
    expect(failure.error.hint).toContain(`cooper run --rm -it --entrypoint /bin/ash ${short}`);
  });

  test("of several stages, that which fails first is kept, and its failure is the build's", async () => {
    const failure = await failing(
      `${BUSYBOX_BASE}FROM base AS one\nRUN sleep 0.3; echo one > /one; exit 5\n` +
        `FROM base AS two\nRUN echo two; sleep 100\nFROM base\nCOPY --from=one /one /\nCOPY --from=two /bin/sh /x\n`,
      { onFailure: "keep", jobs: 3 },
    );
    expect(failure.error).toMatchObject({ code: "run-failed", exitCode: 5 });
    expect(await outputOf(kept(failure) ?? "", ["cat", "/one"])).toBe("one\n");
  });

  test("stop keeps nothing", async () => {
    const before = await lab.cooper.images({ all: true });
    const failure = await failing(`${BUSYBOX_BASE}RUN echo y > /y; exit 6\n`, {});
    expect(kept(failure)).toBeUndefined();
    expect(failure.error.hint).toBeUndefined();
    expect(await lab.cooper.images({ all: true })).toHaveLength(before.length);
  });
});

test.each([
  [{ runTimeoutMs: -1 }, "runTimeoutMs: -1 is not"],
  [{ runTimeoutMs: 1.5 }, "runTimeoutMs: 1.5 is not"],
  [{ runTimeoutMs: Number.NaN }, "runTimeoutMs: NaN is not"],
  [{ runTimeoutMs: 2 ** 31 }, "runTimeoutMs: 2147483648 is not"],
  [{ onFailure: "ask" as "keep" }, 'onFailure: "ask" is not one of: stop, shell, keep'],
  [{ onFailure: "shell" as const }, "needs a terminal"],
])("%j is refused before the first step", async (options, message) => {
  const { error, events } = await failing(`${BUSYBOX_BASE}RUN exit 1\n`, options);
  expect(error).toMatchObject({ code: "usage" });
  expect(error.message).toContain(message);
  expect(events).toEqual([]);
});
