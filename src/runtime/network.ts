import type { ChildProcess } from "node:child_process";
import { accessSync, closeSync, constants, openSync, readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { errnoOf } from "../errors.js";
import { READY_MS, endOf, holdNamespace, killed, openNamespaceOf, said, start } from "./attendants.js";
import { HOST_PATH } from "./host-path.js";

/** How processes get to the network: through a namespace of their own, or as cooper itself, and then why. */
export type NetworkOutcome =
  | {
      readonly kind: "private";
      /** For the `networkNamespace` of plans. */
      readonly namespace: string;
      /** Address inside at which the machine's resolvers answer. */
      readonly nameserver: string;
      /** Whether the machine's own addresses lead to it from inside. */
      readonly reachesHost: boolean;
    }
  | { readonly kind: "host"; readonly reason: string };

/** A network namespace and the program that forwards its traffic. */
export interface PrivateNetwork extends AsyncDisposable {
  /** Makes it when first called; then the same answer for ever. Never rejects. */
  readonly open: () => Promise<NetworkOutcome>;
}

/** As slirp4netns names it. */
const NAMESERVER = "10.0.2.3";

/**
 * A network namespace whose only way out is a program that makes ordinary connections of this machine of what comes
 * (slirp4netns, else pasta): neither the machine's loopback services nor its abstract sockets can be reached. It costs
 * nothing before `open`. All of it is gone after dispose, and dies with cooper: each process wants to be killed with its
 * parent, and ends by itself should the parent have died before that wish.
 */
export function privateNetwork(): PrivateNetwork {
  const started: ChildProcess[] = [];
  const fds: number[] = [];
  let outcome: Promise<NetworkOutcome> | undefined;
  let closed = false;
  const kill = async (): Promise<void> => {
    await Promise.all(started.splice(0).map(killed));
    for (const fd of fds.splice(0)) closeSync(fd);
  };
  const make = async (): Promise<NetworkOutcome> => {
    const missing = whatIsMissing();
    if (missing !== undefined) return { kind: "host", reason: missing };
    try {
      const namespace = await openNamespace(started, fds);
      const forwarder = await forward(namespace.holder, started);
      if (closed) throw new Error("closed meanwhile");
      return { kind: "private", namespace: namespace.path, ...forwarder };
    } catch (error) {
      await kill();
      return { kind: "host", reason: (error as Error).message };
    }
  };
  return {
    open: () => (outcome ??= make()),
    [Symbol.asyncDispose]: async () => {
      closed = true;
      await kill();
      await outcome;
    },
  };
}

function whatIsMissing(): string | undefined {
  if (!isInstalled("slirp4netns") && !isInstalled("pasta"))
    return "neither slirp4netns nor pasta is installed";
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
    return undefined;
  } catch (error) {
    const errno = errnoOf(error) ?? String(error);
    if (errno === "ENOENT") return "there is no /dev/net/tun";
    return `/dev/net/tun cannot be opened (${errno})`;
  }
}

function isInstalled(program: string): boolean {
  return HOST_PATH.split(":").some((dir) => {
    try {
      accessSync(`${dir}/${program}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * The holder of the namespace has no right in it: pasta, which gives up most of its own, may then still look it up. We
 * hold the namespace too, so that no other process can ever be taken for this one.
 */
async function openNamespace(
  started: ChildProcess[],
  fds: number[],
): Promise<{ readonly path: string; readonly holder: number }> {
  const nothing = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"];
  const child = await holdNamespace("net", ["setpriv", ...nothing, "--"], (each) => started.push(each));
  const holder = child.pid ?? 0;
  const { fd, path } = openNamespaceOf(holder, "net");
  fds.push(fd);
  return { path, holder };
}

type Forwarder = Pick<Extract<NetworkOutcome, { readonly kind: "private" }>, "nameserver" | "reachesHost">;

async function forward(holder: number, started: ChildProcess[]): Promise<Forwarder> {
  const errors: string[] = [];
  for (const { program, run, reachesHost } of FORWARDERS) {
    if (!isInstalled(program)) continue;
    try {
      await run(holder, started);
      return { nameserver: NAMESERVER, reachesHost };
    } catch (error) {
      errors.push((error as Error).message);
      const last = started.pop();
      if (last) await killed(last);
    }
  }
  throw new Error(errors.join("; "));
}

/** In order of preference: slirp4netns is ready in a third of the time, and lets a step reach servers on this machine's addresses. */
const FORWARDERS = [
  { program: "slirp4netns", run: confinedSlirp, reachesHost: true },
  { program: "pasta", run: pasta, reachesHost: false },
] as const;

/**
 * To confine themselves they throw all mounts away, of which they have made but the topmost private: where mounts are
 * shared, as systemd has them, those of the machine would go with theirs, /dev/shm and /sys/fs/cgroup among them.
 */
const OWN_MOUNTS = ["unshare", "--mount", "--propagation", "private", "--"];

/** Confined as far as it and the kernel can. */
async function confinedSlirp(holder: number, started: ChildProcess[]): Promise<void> {
  try {
    await slirp(holder, started, ["--enable-sandbox", "--enable-seccomp"]);
  } catch {
    const last = started.pop();
    if (last) await killed(last);
    await slirp(holder, started, []);
  }
}

async function slirp(holder: number, started: ChildProcess[], confined: readonly string[]): Promise<void> {
  const how = ["--configure", "--mtu=65520", "--disable-host-loopback", ...confined];
  const child = start(
    [...OWN_MOUNTS, "slirp4netns", ...how, "--ready-fd=3", "--exit-fd=4", String(holder), "tap0"],
    ["ignore", "ignore", "pipe", "pipe", "pipe"],
  );
  started.push(child);
  await said(child, child.stdio[3] as Readable, "slirp4netns");
}

/** Neither direction may be mapped between the two loopbacks, which is what pasta does unless told otherwise. */
async function pasta(holder: number, started: ChildProcess[]): Promise<void> {
  const closed = ["-t", "-u", "-T", "-U"].flatMap((ports) => [ports, "none"]);
  const how = ["--foreground", "--config-net", "--ipv4-only", "--no-map-gw", ...closed, "--runas", "0"];
  const where = ["--dns-forward", NAMESERVER, "--netns-only", "--netns", `/proc/${holder}/ns/net`];
  const child = start([...OWN_MOUNTS, "pasta", ...how, ...where], ["ignore", "ignore", "pipe"]);
  started.push(child);
  const end = new Date(Date.now() + READY_MS);
  const ended = endOf(child, "pasta");
  while (!hasRoute(holder)) {
    if (new Date() > end) throw new Error("pasta does not become ready");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5))]);
  }
}

function hasRoute(pid: number): boolean {
  return readFileSync(`/proc/${pid}/net/route`, "latin1")
    .split("\n")
    .some((line) => line.split("\t")[1] === "00000000");
}
