import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { randomInt } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { cooper, execute } from "../e2e/command.js";
import type { CommandOptions, CommandResult } from "../e2e/command.js";
import { BUSYBOX, BUSYBOX_BASE } from "../support/lab.js";
import { mountsWith } from "../support/leftovers.js";
import { problemsOf } from "../support/store-problems.js";

export const PROGRAM = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));

/** What `localhost/base` answers when it is run: the image that every fault must leave whole. */
const ANSWER = "the earlier image is whole\n";

/** A store with one image, `localhost/base`, in a directory of its own; removed on dispose. */
export interface FaultLab extends Disposable {
  readonly dir: string;
  readonly root: string;
  readonly context: string;
  /** A number that no other process of the machine has in its arguments or environment. */
  readonly marker: string;
  /** Writes files below `dir`; names that end in / are directories. Returns the path of the first. */
  write(files: Readonly<Record<string, string | Uint8Array>>): string;
  /** `cooper ARGS...` with the lab's store and directory, to its end. */
  run(args: readonly string[], options?: Partial<CommandOptions>): Promise<CommandResult>;
  /** `cooper build` of this text with the lab's context. */
  build(
    containerfile: string,
    args?: readonly string[],
    options?: Partial<CommandOptions>,
  ): Promise<CommandResult>;
  /** `cooper ARGS...`, started without input; its outputs are pipes unless `options` says otherwise. */
  start(args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** A fresh store with the same image; the other stays. */
  freshRoot(): Promise<FaultLab>;
}

/** A lab; `root` is where its store is to be. */
export async function openFaultLab(root?: string): Promise<FaultLab> {
  const dir = mkdtempSync(join(tmpdir(), "cooper-fault-"));
  const context = join(dir, "context");
  mkdirSync(context);
  copyFileSync(BUSYBOX, join(context, "busybox"));
  const lab = labIn(dir, root ?? join(dir, "root"), context);
  writeFileSync(
    join(dir, "base.containerfile"),
    `${BUSYBOX_BASE}CMD ["echo", ${JSON.stringify(ANSWER.trim())}]\n`,
  );
  await lab.run(["build", "-q", "-t", "base", "-f", join(dir, "base.containerfile"), context]);
  return lab;
}

function labIn(dir: string, root: string, context: string): FaultLab {
  const marker = String(randomInt(1e9, 9e9));
  const env = { FAULT_MARKER: marker };
  let files = 0;
  const lab: FaultLab = {
    dir,
    root,
    context,
    marker,
    write: (texts) => {
      for (const [name, text] of Object.entries(texts)) {
        const path = join(dir, name);
        mkdirSync(dirname(path), { recursive: true });
        if (name.endsWith("/")) mkdirSync(path, { recursive: true });
        else writeFileSync(path, text);
      }
      return join(dir, Object.keys(texts)[0] ?? "");
    },
    run: (args, options = {}) => cooper(args, { root, ...options, env: { ...env, ...options.env } }),
    build: (text, args = [], options = {}) => {
      files += 1;
      const file = lab.write({ [`Containerfile.${files}`]: text });
      return lab.run(["build", "-f", file, ...args, context], { mayFail: true, ...options });
    },
    start: (args, options = {}) =>
      spawn(process.execPath, [PROGRAM, ...args], {
        stdio: ["ignore", "pipe", "pipe"],
        ...options,
        env: { ...process.env, ...env, COOPER_ROOT: root },
      }),
    freshRoot: async () => {
      const fresh = join(dir, `root-${randomInt(1e9)}`);
      await execute("cp", ["-a", root, fresh]);
      return labIn(dir, fresh, context);
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
  return lab;
}

/** One failure as it must be: this exit code, one `Error:` line that matches, and nothing of JavaScript. */
export function expectFailure(result: CommandResult, status: number, message: RegExp): void {
  const errors = result.stderr.split("\n").filter((line) => line.startsWith("Error:"));
  expect({ status: result.status, errors: errors.length, stderr: result.stderr }).toMatchObject({
    status,
    errors: 1,
  });
  expect(errors[0]).toMatch(message);
  expect(result.stderr).not.toMatch(/internal error|^\s+at .*\.c?js|node:internal|\bE[A-Z]{4,}:/m);
}

/** What a fault may not leave: processes, mounts, temporaries, a damaged store, a damaged earlier image. */
export async function expectNothingLeft(lab: FaultLab): Promise<void> {
  expect(processesOf(lab)).toEqual([]);
  // Temporaries may wait for the next command that writes.
  expect(await lab.run(["run", "--rm", "base"], { mayFail: true })).toMatchObject({
    status: 0,
    stdout: ANSWER,
    stderr: "",
  });
  expect(await lab.run(["inspect", "base"])).toMatchObject({ status: 0, stderr: "" });
  expect(readdirSync(join(lab.root, "tmp"))).toEqual([]);
  expect(readdirSync(join(lab.root, "locks")).filter((name) => name !== "ballast")).toEqual([]);
  expect(await problemsOf(lab.root)).toEqual([]);
  expect(mountsWith(`${lab.root}/`)).toEqual([]);
}

/** Processes that carry the lab's marker or its directory in their arguments or environment. */
export function processesOf({ marker, dir }: FaultLab): readonly string[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && pid !== String(process.pid))
    .map((pid) => ({ pid, argv: textOf(`/proc/${pid}/cmdline`), env: textOf(`/proc/${pid}/environ`) }))
    .filter(({ argv, env }) => [marker, dir].some((text) => argv.includes(text) || env.includes(text)))
    .map(({ pid, argv }) => `${pid} ${argv}`);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1").replaceAll("\0", " ");
  } catch {
    return "";
  }
}
