import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { CooperEvent } from "../../src/events.js";

const program = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Both, as they came. */
  readonly output: string;
}

export interface CommandOptions {
  readonly root: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Returns a non-zero status instead of throwing. */
  readonly mayFail?: boolean;
}

/** Runs the bundled `cooper` as a user would. */
export function cooper(args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return execute(process.execPath, [program, ...args], {
    ...options,
    env: { COOPER_ROOT: options.root, ...options.env },
  });
}

/** Runs any program to its end. Throws with its output when it fails. */
export function execute(
  file: string,
  args: readonly string[],
  options: Omit<CommandOptions, "root"> & { readonly cwd?: string } = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let stdout = "";
    let stderr = "";
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      output += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const status = code ?? 128;
      if (status === 0 || options.mayFail === true) resolve({ status, stdout, stderr, output });
      else reject(new Error(`${[file, ...args].join(" ")}: ${signal ?? `exit ${status}`}\n${output}`));
    });
    // The command may end without reading its input.
    child.stdin.on("error", () => undefined).end(options.input ?? "");
  });
}

/** What became of each step of a build that was run with `--progress json`, stage by stage, without the FROM lines. */
export function stepsOf({
  stderr,
}: CommandResult): readonly { readonly text: string; readonly outcome: string }[] {
  const texts = new Map<string, string>();
  const steps: { order: number; text: string; outcome: string }[] = [];
  for (const line of stderr.split("\n").filter((text) => text.startsWith("{"))) {
    const event = JSON.parse(line) as CooperEvent;
    if (event.type !== "step-start" && event.type !== "step-end") continue;
    const { stage, index } = event.step;
    if (event.type === "step-start") texts.set(`${stage}.${index}`, event.text);
    else if (index > 1) {
      const text = texts.get(`${stage}.${index}`) ?? "";
      steps.push({ order: stage * 10_000 + index, text, outcome: event.outcome });
    }
  }
  return steps.toSorted((a, b) => a.order - b.order).map(({ text, outcome }) => ({ text, outcome }));
}

/** The image id that a build prints alone on its last line of stdout. */
export function imageIdOf({ stdout }: CommandResult): string {
  const id = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (!/^[0-9a-f]{64}$/.test(id)) throw new Error(`no image id at the end of: ${stdout}`);
  return id;
}
