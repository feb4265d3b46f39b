import { expect } from "vitest";
import type { BuildOptions, Cooper, ImageDetails, ImageSummary, OpenOptions } from "../../src/cooper.js";
import type { CooperEvent, StepPosition } from "../../src/events.js";
import type { Digest } from "../../src/image/index.js";
import { main } from "../../src/cli/app.js";
import type { Sink, Source, World } from "../../src/cli/world.js";

export const NOW = Date.UTC(2026, 0, 2, 12);

/** A digest of one repeated hex digit. */
export function digest(digit: string): Digest {
  return `sha256:${digit.repeat(64)}` as Digest;
}

export function step(stage: number, stages: number, index: number, steps: number): StepPosition {
  return { stage, stages, index, steps };
}

/** The result event of a built step; `digit` makes its id. */
export function built(at: StepPosition, digit: string): CooperEvent {
  return { type: "step-end", step: at, outcome: "built", imageId: digit.repeat(64), durationMs: 1234 };
}

export function cached(at: StepPosition, digit: string): CooperEvent {
  return { type: "step-end", step: at, outcome: "cached", imageId: digit.repeat(64), durationMs: 0 };
}

export function output(at: StepPosition, text: string, stream: "stdout" | "stderr" = "stdout"): CooperEvent {
  return { type: "output", step: at, stream, chunk: Buffer.from(text) };
}

export const summary: ImageSummary = {
  id: digest("a"),
  names: ["localhost/hello:latest"],
  created: NOW - 2 * 3_600_000,
  size: 213_900_000,
  intermediate: false,
};

export const details: ImageDetails = {
  ...summary,
  digest: digest("d"),
  format: "oci" as const,
  configSize: 100,
  config: {
    os: "linux",
    architecture: "amd64",
    created: "2026-01-02T10:00:00Z",
    config: { Env: ["A=b"], Cmd: ["/bin/sh"], Labels: { x: "y" } },
    rootfs: { type: "layers", diff_ids: [] },
    history: [{ created_by: "COPY . /", created: "2026-01-02T10:00:00Z" }],
  },
};

export interface Call {
  readonly method: string;
  readonly args: readonly unknown[];
}

/** A Cooper that records what it is asked and answers with fixed values. */
export function recordingCooper(calls: Call[], answers: Partial<Cooper> = {}): Cooper {
  const record = <T>(method: string, args: readonly unknown[], value: T): Promise<T> => {
    calls.push({ method, args });
    return Promise.resolve(value);
  };
  return {
    root: "/store",
    build: (options: BuildOptions) =>
      record("build", [options], {
        imageId: digest("b"),
        config: details.config,
        steps: { cached: 0, built: 1 },
      }),
    lint: (...args) =>
      record("lint", args, { source: { name: "Containerfile", text: "" }, diagnostics: [], fixed: [] }),
    pull: (...args) => record("pull", args, summary),
    push: (...args) => record("push", args, { mediaType: "m", digest: digest("e"), size: 1 }),
    images: (...args) => record("images", args, [summary]),
    inspect: (...args) => record("inspect", args, details),
    history: (...args) => record("history", args, []),
    tag: (...args) => record("tag", args, undefined),
    remove: (...args) =>
      record("remove", args, { untagged: ["localhost/hello:latest"], deleted: [digest("a")] }),
    save: (...args) => record("save", args, undefined),
    load: (...args) => record("load", args, ["localhost/hello:latest"]),
    run: (...args) => record("run", args, 0),
    doctor: (...args) => record("doctor", args, { checks: [], drivers: [], chosen: null }),
    login: (...args) => record("login", args, undefined),
    logout: (...args) => record("logout", args, undefined),
    loggedIn: (...args) => record("loggedIn", args, undefined),
    [Symbol.asyncDispose]: () => record("dispose", [], undefined),
    ...answers,
  };
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly calls: readonly Call[];
  readonly opened: readonly (OpenOptions | undefined)[];
  readonly questions: readonly { readonly secret: boolean }[];
}

export interface Scene {
  readonly cooper?: Partial<Cooper>;
  readonly terminal?: boolean;
  readonly stdin?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
}

/** Runs one command line against a recording Cooper. */
export async function cli(argv: readonly string[], scene: Scene = {}): Promise<Outcome> {
  const calls: Call[] = [];
  const opened: (OpenOptions | undefined)[] = [];
  const questions: { secret: boolean }[] = [];
  const stdout = memorySink(scene.terminal ?? false);
  const stderr = memorySink(scene.terminal ?? false);
  const lines = [...(scene.stdin ?? [])];
  const stdin: Source = {
    isTerminal: scene.terminal ?? false,
    readLine: ({ secret }) => {
      questions.push({ secret });
      return Promise.resolve(lines.shift());
    },
    readAll: () => Promise.resolve(lines.join("")),
  };
  const world: World = {
    open: (options) => {
      opened.push(options);
      return Promise.resolve(recordingCooper(calls, scene.cooper));
    },
    stdout: stdout.sink,
    stderr: stderr.sink,
    stdin,
    env: scene.env ?? {},
    cwd: scene.cwd ?? "/here",
    now: () => NOW,
    signal: scene.signal ?? new AbortController().signal,
    version: "1.2.3",
  };
  const code = await main(argv, world);
  return { code, stdout: stdout.text(), stderr: stderr.text(), calls, opened, questions };
}

function memorySink(isTerminal: boolean): { readonly sink: Sink; readonly text: () => string } {
  const chunks: Buffer[] = [];
  return {
    sink: {
      write: (chunk) => void chunks.push(Buffer.from(chunk)),
      isTerminal,
      columns: isTerminal ? 60 : undefined,
      closed: false,
    },
    text: () => Buffer.concat(chunks).toString("utf8"),
  };
}

/** The arguments of the only call of a method. */
export async function argumentsOf(method: string, ...argv: string[]): Promise<readonly unknown[]> {
  const { calls, stderr } = await cli(argv);
  expect(stderr).toBe("");
  const [call] = calls.filter((made) => made.method === method);
  expect(calls.at(-1)?.method).toBe("dispose");
  return call?.args ?? [];
}
