import { randomBytes } from "node:crypto";
import type { StdioOptions } from "node:child_process";
import { closeSync, lstatSync, openSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../errors.js";

/**
 * Who holds something on disk: a token that goes into file names, and that any process which shares the disk can
 * later ask about: is its owner alive?
 *
 * Inside one pid namespace the answer is exact: pid and start time (a pid that was used again has another start).
 * Containers that share a store cannot see each other's pids. For them an owner listens on a socket in a
 * directory of the store: connecting to it needs no namespace, works while the owner is busy or stopped, and is
 * refused from the moment it died. (Node has no flock, and a pid file or a heartbeat would have to trust a clock.)
 */
export interface Owner {
  /** `<pid>-<start time>-<pid namespace>-<boot>-<random>`: safe in a file name. */
  readonly token: string;
  /** Makes the owner visible to other containers (about 4 ms, once); called before anything is made in its name. */
  announce(): void;
  /** Withdraws. Everything made in its name must be gone by then. */
  dispose(): void;
}

const TOKEN = /^(\d+)-(\d+)-(\d+)-([0-9a-f]+)-[0-9a-f]{12}$/;
/** How long an owner that nobody can be asked about (other pid namespace, no socket) counts as alive, ms. */
const UNKNOWN_OWNER_MS = 24 * 3600 * 1000;

/** A new owner in this process; `socketDir` must exist and be writable by us alone. */
export function claimOwner(socketDir: string): Owner {
  let token: string | undefined;
  let close: (() => void) | undefined;
  const owner: Owner = {
    get token() {
      return (token ??= newToken());
    },
    announce: () => (close ??= listen(socketDir, socketName(owner.token))),
    dispose: () => close?.(),
  };
  return owner;
}

function newToken(): string {
  const { start, namespace, boot } = self();
  return `${process.pid}-${start}-${namespace}-${boot}-${randomBytes(6).toString("hex")}`;
}

/** Name of an owner's socket in the directory given to `claimOwner`. */
export function socketName(token: string): string {
  return `${token}.sock`;
}

/** True for text that is an owner's token. */
export function isOwnerToken(text: string): boolean {
  return TOKEN.test(text);
}

/** The pid in a token, for messages ("held by process 12"). */
export function pidOf(token: string): number {
  return Number(TOKEN.exec(token)?.[1] ?? 0);
}

/**
 * Whether an owner may still be at work. Errs on the side of life: an owner in another container of which there is no
 * socket lives for a day after `path` (something of its making) was last changed. Text that is no token is dead.
 */
export function ownerIsAlive(token: string, socketDir: string, path: string): boolean {
  const known = judge(token);
  return known ?? believe(knock(socketDir, socketName(token)), path);
}

/** As `ownerIsAlive`; asks other containers without a child process. */
export async function ownerIsAliveAsync(token: string, socketDir: string, path: string): Promise<boolean> {
  const known = judge(token);
  return known ?? believe(await knockAsync(socketDir, socketName(token)), path);
}

/** What the kernel says; undefined for an owner in another pid namespace. */
function judge(token: string): boolean | undefined {
  const parts = TOKEN.exec(token);
  if (!parts) return false;
  const [, pid = "", start = "", namespace = "", boot = ""] = parts;
  const me = self();
  // One kernel per store: another boot means that the machine was restarted.
  if (boot !== me.boot) return false;
  return namespace === me.namespace ? processIsAlive(Number(pid), start) : undefined;
}

type Answer = "alive" | "dead" | "unknown";

function believe(answer: Answer, path: string): boolean {
  return answer === "unknown" ? ageOf(path) < UNKNOWN_OWNER_MS : answer === "alive";
}

interface Self {
  readonly start: string;
  readonly namespace: string;
  readonly boot: string;
}

let known: Self | undefined;

function self(): Self {
  known ??= {
    start: startTime("self") ?? "0",
    namespace: orElse("0", () => /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0"),
    boot: orElse("0", () =>
      readFileSync("/proc/sys/kernel/random/boot_id", "latin1")
        .replace(/[^0-9a-f]/g, "")
        .slice(0, 12),
    ),
  };
  return known;
}

function orElse<T>(fallback: T, read: () => T): T {
  try {
    return read();
  } catch {
    return fallback;
  }
}

function processIsAlive(pid: number, start: string): boolean {
  if (pid === process.pid) return start === self().start;
  const procIsOurs = procShowsUs();
  const found = procIsOurs ? startTime(String(pid)) : undefined;
  if (found !== undefined) return found === start;
  // Hidden from us (hidepid) or not there: the kernel knows.
  try {
    process.kill(pid, 0);
    return !procIsOurs || hidesProcesses();
  } catch (error) {
    return errnoOf(error) !== "ESRCH";
  }
}

/** False when /proc is missing or shows another pid namespace than ours. */
function procShowsUs(): boolean {
  return orElse(false, () => readlinkSync("/proc/self") === String(process.pid));
}

/** True when /proc does not show processes of others, so that "not there" means nothing. */
function hidesProcesses(): boolean {
  return orElse(false, () =>
    /^\S+ \/proc proc \S*hidepid=(?!0|off)/m.test(readFileSync("/proc/self/mounts", "latin1")),
  );
}

/** Clock ticks from boot to the start of a process; undefined when it is gone, or dead and only not yet waited for. */
function startTime(pid: string): string | undefined {
  return orElse(undefined, () => {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command's name may hold spaces and parentheses: count fields after the last one. Source: proc_pid_stat(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  });
}

function ageOf(path: string): number {
  return orElse(Number.POSITIVE_INFINITY, () => Math.abs(Date.now() - lstatSync(path).mtimeMs));
}

/** A path of at most 108 bytes, which is all that a socket address holds. Source: unix(7). */
function shortPath(dirFd: number, name: string): string {
  return `/proc/self/fd/${dirFd}/${name}`;
}

/** Listens on a socket until the function that is returned is called; where there can be no socket, does nothing. */
function listen(dir: string, name: string): () => void {
  const { createServer } = process.getBuiltinModule("node:net");
  const server = createServer((connection) => connection.destroy());
  const nothing = () => undefined;
  // Emitted later, when the file system has no sockets: the answer about us is then "unknown".
  server.on("error", nothing);
  const dirFd = orElse(undefined, () => openSync(dir, "r"));
  if (dirFd === undefined) return nothing;
  server.listen(shortPath(dirFd, name)).unref();
  return () => {
    // Removes the socket too, by the same path, so the directory is closed after it.
    server.close();
    closeSync(dirFd);
  };
}

const KNOCK = `require("node:net").connect("/proc/self/fd/3/" + process.argv[1])
  .on("connect", () => process.exit(0))
  .on("error", (e) => process.exit(e.code === "ECONNREFUSED" ? 1 : 2));`;

/** Asks a socket from a child process, since Node cannot wait for a connection synchronously; rare. */
function knock(dir: string, name: string): Answer {
  return withSocketDir(dir, name, (dirFd) => {
    const { spawnSync } = process.getBuiltinModule("node:child_process");
    const stdio: StdioOptions = ["ignore", "ignore", "ignore", dirFd];
    const { status } = spawnSync(process.execPath, ["-e", KNOCK, name], { stdio, env: {}, timeout: 5000 });
    closeSync(dirFd);
    return status === 0 ? "alive" : status === 1 ? "dead" : "unknown";
  });
}

async function knockAsync(dir: string, name: string): Promise<Answer> {
  return withSocketDir(dir, name, (dirFd) => {
    const { connect } = process.getBuiltinModule("node:net");
    const connection = connect(shortPath(dirFd, name));
    return new Promise<Answer>((resolve) => {
      connection.once("connect", () => resolve("alive"));
      connection.once("error", (error) => resolve(errnoOf(error) === "ECONNREFUSED" ? "dead" : "unknown"));
    }).finally(() => {
      connection.destroy();
      closeSync(dirFd);
    });
  });
}

function withSocketDir<T>(dir: string, name: string, ask: (dirFd: number) => T): T | "unknown" {
  const isThere = orElse(false, () => lstatSync(join(dir, name)).isSocket());
  return isThere ? orElse<T | "unknown">("unknown", () => ask(openSync(dir, "r"))) : "unknown";
}
