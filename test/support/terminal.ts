import { execFileSync, spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A program under a pseudo-terminal of its own, made by script(1). */
export interface Terminal {
  /** All that was shown so far, without carriage returns. */
  readonly text: string;
  type(keys: string): void;
  /** Resolves when the text (after what `see` found before) matches; throws, with the text, when it does not for 20 s. */
  see(what: RegExp): Promise<void>;
  /** As if the user had changed the size of the window. */
  resize(rows: number, columns: number): void;
  /** Pids of the programs that have the terminal as their stdin. */
  pids(): readonly number[];
  /** Sets modes, in stty's words, as another program on the terminal would. */
  set(...modes: readonly string[]): void;
  /** stty's words for the modes of the terminal, such as `icanon` or `-icanon`. */
  modes(): readonly string[];
  /** Takes the terminal away, as a window that is closed or a connection that breaks does. */
  hangUp(): void;
  /** The exit status of the program. */
  readonly ended: Promise<number>;
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Starts `argv` on a terminal of 30 by 90. A shell stays in front of it, as a user's own does, and prints the status
 * and the modes of the terminal at the end.
 */
export async function openTerminal(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Terminal> {
  const line = argv.map(quoted).join(" ");
  const command = `stty rows 30 cols 90; echo "pts=$(tty)"; ${line}; echo "status=$?"; echo "modes=$(stty -a | tr '\\n' ' ')"`;
  const child = spawn("script", ["-qefc", command, "/dev/null"], { env: { ...process.env, ...env } });
  let text = "";
  let seen = 0;
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString("utf8").replaceAll("\r", "")));
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
  child.stdin.on("error", () => undefined);
  const closed = new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve());
  });
  const see = async (what: RegExp): Promise<void> => {
    for (let tries = 0; tries < 400; tries += 1) {
      const found = what.exec(text.slice(seen));
      if (found) {
        seen += found.index + found[0].length;
        return;
      }
      await sleep(50);
    }
    child.kill();
    throw new Error(`${String(what)} is not to be seen in: ${JSON.stringify(text.slice(seen))}`);
  };
  await see(/pts=\S+\n/);
  const pts = /pts=(\S+)/.exec(text)?.[1] ?? "";
  const stty = (...words: readonly string[]): string =>
    execFileSync("stty", ["-F", pts, ...words], { encoding: "utf8" });
  return {
    get text() {
      return text;
    },
    type: (keys) => void child.stdin.write(keys),
    see,
    resize: (rows, columns) => void stty("rows", String(rows), "cols", String(columns)),
    pids: () =>
      readdirSync("/proc")
        .map(Number)
        .filter((pid) => stdinOf(pid) === pts),
    set: (...modes) => void stty(...modes),
    hangUp: () => void child.kill("SIGKILL"),
    modes: () => stty("-a").split(/[\s;]+/),
    ended: closed.then(() => Number(/status=(\d+)/.exec(text)?.[1] ?? -1)),
  };
}

function stdinOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/0`);
  } catch {
    return undefined; // It has ended, or is no process.
  }
}
