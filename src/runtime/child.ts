import { chownSync, readlinkSync, writeFileSync, writeSync } from "node:fs";
import { STRANGLED, execute, furnish, giveStreams, offerMemory, openStdin, resetSignals } from "./become.js";
import { takeIdentity, takeStdio } from "./become.js";
import { DEFAULT_CAPABILITIES } from "./capabilities.js";
import { receive, receiveBytes, send } from "./control.js";
import { copyIntoNamespaces, exit, poll, readAll, reap, separateCgroups } from "./copy.js";
import type { Copy } from "./copy.js";
import { newDevpts, ttyGroup } from "./devices.js";
import type { HelperMessage, HelperPlan, Refusal } from "./helper-plan.js";
import { CONTROL, INHERITED } from "./helper-plan.js";
import { enterIdMapping, takeIdMapping } from "./id-mapping.js";
import { joinNetwork, openLowPorts } from "./join-network.js";
import { openLink } from "./oci-link.js";
import type { RuntimeLink } from "./oci-link.js";
import { superviseRuntime } from "./oci-run.js";
import type { Link } from "./oci-run.js";
import { doing, refusalOf } from "./refusal.js";
import { removeTraces } from "./root-walk.js";
import type { Traces } from "./root-walk.js";
import { enterRootfs } from "./rootfs.js";
import { sealExecutable } from "./seal.js";
import { seccompFilter } from "./seccomp.js";
import {
  AT_FDCWD,
  O_DIRECTORY,
  O_NOCTTY,
  O_PATH,
  O_RDWR,
  close,
  loadKernel,
  makePipe,
  openAt,
  syscall,
  trySyscall,
} from "./syscalls.js";

/**
 * The helper: a process of its own, warm before it is needed, that starts one command after the other. For each it
 * copies itself with clone(2) into new namespaces; the copy arranges them and becomes the command by execve, so that
 * the command is process 1 there. A copy takes 1 ms where a new Node takes 50.
 *
 * The helper is process 1 of a namespace of its own, which holds those of its commands: when it dies, for whatever
 * reason, the kernel ends them all. It serves one command at a time and does nothing asynchronous.
 */
function main(): void {
  sealExecutable();
  loadKernel();
  // Its memory and descriptors are nobody's business but the driver's, who has the rights (hazard X02). A copy of it is
  // as closed, up to its execve.
  trySyscall("prctl", 4 /* PR_SET_DUMPABLE */, 0, 0, 0, 0);
  offerMemory();
  const pid = Number(readlinkSync("/proc/self"));
  const filters = new Map<string, Buffer>();
  for (let warm = false; ; warm = true) {
    const [out, err] = [makePipe(), makePipe()];
    send({ type: "ready", pid, stdout: out.readEnd, stderr: err.readEnd });
    if (!warm) defaultFilter(DEFAULT_CAPABILITIES, filters);
    const plan = receive();
    if (plan?.type === "plan") send(serve(plan, filterFor(plan, filters), out.writeEnd, err.writeEnd));
    for (const fd of [out.readEnd, err.readEnd, out.writeEnd, err.writeEnd]) close(fd);
    if (plan === undefined) return;
  }
}

function filterFor({ filter, security }: HelperPlan, filters: Map<string, Buffer>): Buffer | undefined {
  if (filter.kind === "none") return undefined;
  if (filter.kind === "given") return Buffer.from(filter.program, "base64");
  return defaultFilter(security.capabilities, filters);
}

function defaultFilter(capabilities: readonly string[], filters: Map<string, Buffer>): Buffer {
  const key = capabilities.join();
  const filter = filters.get(key) ?? seccompFilter(capabilities);
  filters.set(key, filter);
  return filter;
}

/** Runs one command to its end. */
function serve(plan: HelperPlan, filter: Buffer | undefined, stdout: number, stderr: number): HelperMessage {
  const opened: number[] = [];
  const keep = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const bytes = plan.stdin === "bytes" ? keep(receiveBytes(plan.stdinBytes)) : undefined;
    const terminal = plan.stdio === "tty" && plan.runtime === null ? openTerminal(plan, keep) : undefined;
    const streams = plan.stdio === "pipe" ? { stdout, stderr } : INHERITED;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = attemptRun(plan, filter, { bytes, terminal, ...streams });
      if (outcome !== "crashed") return outcome;
      if (attempt === 3) throw new Error("the helper's copy crashed");
    }
  } catch (error) {
    return { type: "refused", refusal: refusalOf(error) };
  } finally {
    for (const fd of opened) close(fd);
  }
}

interface Streams {
  readonly bytes: number | undefined;
  readonly terminal: Terminal | undefined;
  readonly stdout: number;
  readonly stderr: number;
}

interface Terminal {
  readonly devpts: number;
  readonly index: number;
}

/** A terminal in the step's own devpts (which nothing shows yet); the driver takes the master end from here. */
function openTerminal(plan: HelperPlan, keep: (fd: number) => number): Terminal {
  return doing("open a terminal", () => {
    const devpts = keep(newDevpts(plan));
    const master = keep(openAt(devpts, "ptmx", O_RDWR | O_NOCTTY));
    const number = Buffer.alloc(4);
    syscall("ioctl", undefined, master, 0x40045431 /* TIOCSPTLCK */, number);
    syscall("ioctl", undefined, master, 0x80045430 /* TIOCGPTN */, number);
    const size = Buffer.alloc(8);
    size.writeUInt16LE(plan.terminal.rows, 0);
    size.writeUInt16LE(plan.terminal.columns, 2);
    syscall("ioctl", undefined, master, 0x5414 /* TIOCSWINSZ */, size);
    send({ type: "terminal", fd: master });
    receive();
    // Only the driver may hold the master, or its end would never be seen.
    close(master);
    const index = number.readInt32LE(0);
    // It was opened here, by root, who is nobody in a user namespace of the step's.
    if (plan.idMapping !== null)
      chownSync(`/proc/self/fd/${devpts}/${index}`, plan.idMapping.uid, ttyGroup(plan.idMapping));
    return { devpts, index };
  });
}

/** What the copy tells the helper before it becomes the command; end of file means that it has. */
type Report = { readonly traces: Traces } | { readonly refusal: Refusal };

function attemptRun(
  plan: HelperPlan,
  filter: Buffer | undefined,
  streams: Streams,
): HelperMessage | "crashed" {
  const report = makePipe();
  const link = plan.runtime === null ? undefined : openLink();
  const copy = doing("make namespaces", () => copyIntoNamespaces(plan.network));
  if (copy === undefined) {
    if (link === undefined) becomeCommand(plan, filter, streams, report.writeEnd);
    leaveToRuntime(plan, filter, streams, report.writeEnd, link.inCopy());
  }
  close(report.writeEnd);
  link?.inHelper();
  const said = readAll(report.readEnd);
  const { status, killed } = waitFor(copy, link);
  link?.close();
  if (said.trim() === "" && killed) return { type: "exit", status };
  if (said === "") return link?.result() ?? "crashed";
  if (said === FILTERED) throw new Error(STRANGLED);
  const found = JSON.parse(said) as Report;
  if ("refusal" in found) return { type: "refused", refusal: found.refusal };
  if (found.traces.stubs.length > 0) {
    const upperFd = openAt(AT_FDCWD, plan.upperDir, O_PATH | O_DIRECTORY);
    removeTraces(upperFd, found.traces);
    close(upperFd);
  }
  if (link === undefined || killed) return { type: "exit", status };
  return (
    link.result() ?? {
      type: "refused",
      refusal: { doing: "wait for the process", message: "the process that waits for it has died" },
    }
  );
}

/** What it says before the filter is in force: white space, so that all it says is still JSON. */
const FILTERED = " ";

/** In the copy. Leaves only by execve or exit_group: Node's own way out would wait for threads that were not copied. */
function becomeCommand(
  plan: HelperPlan,
  filter: Buffer | undefined,
  streams: Streams,
  report: number,
): never {
  try {
    const traces = arrange(plan, streams);
    writeSync(report, FILTERED);
    takeIdentity(plan, filter);
    writeSync(report, JSON.stringify({ traces }));
    close(report);
    resetSignals();
    const { status, reason } = execute(plan.argv, plan.env);
    writeSync(2, `${reason}\n`);
    exit(status);
  } catch (error) {
    writeSync(report, JSON.stringify({ refusal: refusalOf(error) }));
  }
  exit(1);
}

/** Puts this process where the command is to be; of its rights it still has all. Returns what mounting left behind. */
function arrange(plan: HelperPlan, streams: Streams): Traces {
  syscall("setsid", undefined);
  doing("enter the cgroup", () => enterCgroup(plan.cgroups));
  if (plan.network === "private")
    doing("enter the private network", () => joinNetwork(plan.networkNamespace));
  if (plan.idMapping !== null && plan.network !== "host") openLowPorts();
  const mapping = doing("take the ids of the user namespace", () => takeIdMapping(plan.idMapping));
  const traces = enterRootfs(plan, mapping, streams.terminal?.devpts);
  furnish(plan);
  const stdio = stdioOf(plan, streams);
  const uid = plan.uid + (mapping?.uid ?? 0);
  doing(`become user ${plan.uid}:${plan.gid}`, () => giveStreams(stdio, uid, plan.stdio));
  takeStdio(stdio, streams.terminal !== undefined);
  if (mapping !== undefined) doing("enter the user namespace", () => enterIdMapping(mapping));
  return traces;
}

/** Its cgroup namespace comes after, so that the cgroup is the root of what it sees. */
function enterCgroup(files: readonly string[]): void {
  for (const file of files) writeFileSync(file, "0");
  separateCgroups();
}

function stdioOf(plan: HelperPlan, streams: Streams): { stdin: number; stdout: number; stderr: number } {
  if (streams.terminal === undefined) return { ...streams, stdin: openStdin(plan, streams.bytes) };
  const slave = openAt(AT_FDCWD, `/dev/pts/${streams.terminal.index}`, O_RDWR | O_NOCTTY);
  return { stdin: slave, stdout: slave, stderr: slave };
}

/** In the copy, which here lives as long as the command does. */
function leaveToRuntime(
  plan: HelperPlan,
  filter: Buffer | undefined,
  streams: Streams,
  report: number,
  link: Link,
): never {
  syscall("setsid", undefined);
  superviseRuntime(plan, filter, { ...streams, stdin: openStdin(plan, streams.bytes) }, link, (traces) => {
    writeSync(report, JSON.stringify({ traces }));
    close(report);
  });
}

/** Waits for the copy, and meanwhile for a `kill` or the driver's end. The whole tree is dead when process 1 is. */
function waitFor(
  { pid, pidFd }: Copy,
  link: RuntimeLink | undefined,
): { readonly status: number; readonly killed: boolean } {
  let killed = false;
  for (;;) {
    const [asked, ended, told] = poll([CONTROL, pidFd, ...(link?.readable() ?? [])]);
    if (told === true) link?.read(pidFd);
    else if (ended === true) break;
    if (asked !== true) continue;
    const request = receive();
    if (request?.type === "go") {
      link?.go();
      continue;
    }
    // Either asked to, or the driver is gone and nobody wants the result.
    killed = true;
    trySyscall("kill", pid, 9);
    if (request === undefined) process.exitCode = 1;
  }
  const status = reap(pid);
  close(pidFd);
  return { status, killed };
}

main();
