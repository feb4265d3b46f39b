import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { CooperError, ioError } from "../errors.js";
import type { Wrapping } from "./layer-stream.js";

type HostFormat = Exclude<Wrapping, "none" | "gzip">;

/** Programs of the host, looked for only here: an image's own are never run outside its sandbox (hazard C14). */
const DIRECTORIES = ["/usr/local/bin", "/usr/bin", "/bin"];
const PACKAGES: Readonly<
  Record<HostFormat, { readonly program: string; readonly args: readonly string[]; readonly debian: string }>
> = {
  bzip2: { program: "bzip2", args: ["-dc"], debian: "bzip2" },
  // Streams that want more memory are refused.
  xz: { program: "xz", args: ["-dc", "--memlimit-decompress=256MiB"], debian: "xz-utils" },
  zstd: { program: "zstd", args: ["-dcq"], debian: "zstd" },
};
const ENV = { PATH: DIRECTORIES.join(":"), LC_ALL: "C" };
const MAX_STDERR = 2000;

function find(program: string): string | undefined {
  return DIRECTORIES.map((dir) => `${dir}/${program}`).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The first `length` uncompressed bytes of a beginning; undefined when the program is not installed, fewer when it makes no sense. */
export function hostPeek(format: HostFormat, start: Buffer, length: number): Buffer | undefined {
  const program = find(PACKAGES[format].program);
  if (program === undefined) return undefined;
  const { stdout } = spawnSync(program, PACKAGES[format].args, {
    input: start,
    env: ENV,
    cwd: "/",
    maxBuffer: 16 * 1024 * 1024,
    timeout: 10_000,
    stdio: ["pipe", "pipe", "ignore"],
  });
  return (stdout ?? Buffer.alloc(0)).subarray(0, length);
}

/** Uncompressed bytes by a program of the host. Throws `unsupported` when it is not installed, `corrupt` when it fails. */
export async function* hostDecompressed(
  format: HostFormat,
  source: AsyncIterable<Buffer>,
  what: string,
): AsyncGenerator<Buffer, void> {
  const { program, args, debian } = PACKAGES[format];
  const path = find(program);
  if (path === undefined) {
    throw new CooperError(
      "unsupported",
      `${what} is compressed with ${format}, and no ${program} is installed here`,
      {
        hint: `install the package ${debian}, or compress it with gzip`,
      },
    );
  }
  const child = spawn(path, args, { env: ENV, cwd: "/", stdio: ["pipe", "pipe", "pipe"] });
  const ended = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  ended.catch(() => undefined);
  let message = "";
  child.stderr.on(
    "data",
    (chunk: Buffer) => (message = (message + chunk.toString("utf8")).slice(0, MAX_STDERR)),
  );
  // A program that stops reading has said why by its status.
  child.stdin.on("error", () => undefined);
  const feed = (async () => {
    for await (const chunk of source) {
      if (child.stdin.destroyed) return;
      if (!child.stdin.write(chunk))
        await Promise.race([once(child.stdin, "drain"), once(child.stdin, "close")]);
    }
    child.stdin.end();
  })();
  feed.catch(() => child.kill("SIGKILL"));
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    await feed;
    const [code] = await ended.catch((error: unknown) => {
      throw ioError("run", path, error);
    });
    if (code !== 0) {
      throw new CooperError(
        "corrupt",
        `${what}: ${program} failed: ${message.trim().replaceAll("\n", "; ") || "no message"}`,
      );
    }
  } finally {
    child.kill("SIGKILL");
    await ended.catch(() => undefined);
  }
}
