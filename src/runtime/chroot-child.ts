import { readFileSync, readlinkSync, writeSync } from "node:fs";
import {
  execute,
  giveStreams,
  offerMemory,
  openStdin,
  resetSignals,
  settle,
  takeIdentity,
  takeStdio,
} from "./become.js";
import type { Stdio } from "./become.js";
import { capabilityMask } from "./capabilities.js";
import { receive, receiveBytes, send } from "./control.js";
import { copySelf, exit, poll, readAll, reap } from "./copy.js";
import type { Copy } from "./copy.js";
import { endDescendants, endProcessesIn } from "./descendants.js";
import { holdCaches, lendFurniture, rescueCaches } from "./furniture.js";
import type { HeldCaches, StreamPipes } from "./furniture.js";
import type { ChrootPlan, HelperMessage, Refusal } from "./helper-plan.js";
import { CONTROL, INHERITED } from "./helper-plan.js";
import { openLoans } from "./loans.js";
import type { Loans } from "./loans.js";
import { makeNamedPipe } from "./named-pipe.js";
import type { NamedPipe } from "./named-pipe.js";
import { codeOf, doing, refusalOf } from "./refusal.js";
import { seccompFilter } from "./seccomp.js";
import { cString, close, loadKernel, makePipe, syscall, trySyscall } from "./syscalls.js";

const FIONREAD = 0x541b;
const PR_SET_PDEATHSIG = 1;
const PR_SET_CHILD_SUBREAPER = 36;
const CAP_SYS_CHROOT = "CAP_SYS_CHROOT";

/**
 * The helper where nothing may be mounted and no namespace made. As the other one (child.ts) it copies itself for each
 * command, and the copy changes its root directory and becomes the command. Nothing in the kernel ends what a command
 * leaves behind, nor takes away what was lent to its root file system: this process does both, also when its driver
 * dies, whose end it sees on its control channel.
 */
function main(): void {
  loadKernel();
  syscall("prctl", undefined, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const pid = Number(readlinkSync("/proc/self"));
  const own = ownCapabilities();
  for (let plan = nextPlan(pid); plan !== undefined; plan = nextPlan(pid)) {
    send(serve(plan.plan, own, plan.out, plan.err));
    for (const pipe of [plan.out, plan.err]) pipe.close();
  }
}

function ownCapabilities(): bigint {
  const [, permitted = "0"] =
    /^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return BigInt(`0x${permitted}`);
}

interface Work {
  readonly plan: ChrootPlan;
  readonly out: NamedPipe;
  readonly err: NamedPipe;
}

/** Undefined when the driver has gone. A `kill` that comes too late is none. */
function nextPlan(pid: number): Work | undefined {
  const [out, err] = [openStream(`${pid}-out`), openStream(`${pid}-err`)];
  send({ type: "ready", pid, stdout: out.readEnd, stderr: err.readEnd });
  for (let request = receive(); request !== undefined; request = receive()) {
    if (request.type === "rescue") send(rescue(request.dir));
    if (request.type !== "chroot") continue;
    return { plan: request, out, err };
  }
  for (const pipe of [out, err]) pipe.close();
  return undefined;
}

/** In the directory that the driver named: a step finds it again as /dev/stdout, where there is no /proc to find it by. */
function openStream(name: string): NamedPipe {
  const [, , place = ""] = process.argv;
  return makeNamedPipe(`${Buffer.from(place, "utf8").toString("latin1")}/${name}`);
}

function rescue(dir: string): HelperMessage {
  try {
    endProcessesIn(dir);
    rescueCaches(dir);
    return { type: "exit", status: 0 };
  } catch (error) {
    return { type: "refused", refusal: refusalOf(error) };
  }
}

/** Runs one command to its end. What was lent comes back whatever happens; when that fails, only what kept it from starting counts more. */
function serve(plan: ChrootPlan, own: bigint, out: NamedPipe, err: NamedPipe): HelperMessage {
  let bytes: number | undefined;
  let held: HeldCaches | undefined;
  let message: HelperMessage | undefined;
  try {
    if (plan.stdin === "bytes") bytes = receiveBytes(plan.stdinBytes);
    held = holdCaches(plan.mounts);
    const loans = openLoans(plan.dir);
    const pipes = plan.stdio === "pipe" ? { stdout: out, stderr: err } : undefined;
    const outcome = runFurnished({ plan, own, loans, bytes, pipes });
    ({ message } = outcome);
    doing("end what the command left running", endDescendants);
    const hasSecret = plan.mounts.some(({ type }) => type === "secret");
    if (pipes && hasSecret && !outcome.killed) awaitReading([out.readEnd, err.readEnd]);
    const restored = doing("put back what the root file system had", () => loans.giveBack());
    return message.type === "exit" ? { ...message, restored } : message;
  } catch (error) {
    return message?.type === "refused" ? message : { type: "refused", refusal: refusalOf(error) };
  } finally {
    held?.letGo();
    if (bytes !== undefined) close(bytes);
  }
}

interface Outcome {
  readonly message: HelperMessage;
  readonly killed: boolean;
}

function runFurnished(command: Command): Outcome {
  try {
    lendFurniture(command.loans, command.plan, command.pipes);
    command.loans.settle();
    return run(command);
  } catch (error) {
    return { message: { type: "refused", refusal: refusalOf(error) }, killed: false };
  }
}

/**
 * Until the driver has taken what is in the pipes, or wants no more. What `cat` puts there are the pages of the file
 * itself: a secret that is overwritten meanwhile would be read as that.
 */
function awaitReading(pipes: readonly number[]): void {
  const count = Buffer.alloc(4);
  const isFull = (fd: number): boolean => {
    syscall("ioctl", undefined, fd, FIONREAD, count);
    return count.readInt32LE(0) > 0;
  };
  while (pipes.some(isFull) && !poll([CONTROL], 1).at(0));
}

interface Command {
  readonly plan: ChrootPlan;
  readonly own: bigint;
  readonly loans: Loans;
  readonly bytes: number | undefined;
  /** Undefined: cooper's own streams. */
  readonly pipes: StreamPipes | undefined;
}

function run(command: Command): Outcome {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const report = makePipe();
    const copy = doing("start a process", copySelf);
    if (copy === undefined) becomeCommand(command, report.writeEnd);
    close(report.writeEnd);
    const said = readAll(report.readEnd);
    const { status, killed } = waitFor(copy);
    if (said === "" && !killed) continue;
    const { refusal } = JSON.parse(said || "{}") as { readonly refusal?: Refusal };
    return { message: refusal ? { type: "refused", refusal } : { type: "exit", status }, killed };
  }
  throw new Error("the helper's copy crashed");
}

/** In the copy. Leaves only by execve or exit_group: Node's own way out would wait for threads that were not copied. */
function becomeCommand({ plan, own, loans, bytes, pipes }: Command, report: number): never {
  try {
    syscall("setsid", undefined);
    // The command should go, not this helper, which has to clean up.
    offerMemory();
    const stdin = openStdin(plan, bytes);
    doing("enter the root file system", () => {
      syscall("fchdir", plan.dir, loans.rootFd);
      syscall("chroot", plan.dir, cString("."));
    });
    settle(plan);
    const stdout = pipes?.stdout.writeEnd ?? INHERITED.stdout;
    const stderr = pipes?.stderr.writeEnd ?? INHERITED.stderr;
    giveAway({ stdin, stdout, stderr }, plan);
    takeStdio({ stdin, stdout, stderr }, false);
    becomeWeaker(plan, own);
    writeSync(report, "{}");
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

/** Without CAP_CHOWN an ordinary user has its streams all the same, and may not open them anew. */
function giveAway(stdio: Stdio, { uid, stdio: kind }: ChrootPlan): void {
  try {
    giveStreams(stdio, uid, kind);
  } catch (error) {
    if (codeOf(error) !== "EPERM") throw error;
  }
}

/**
 * A process that may change its root directory gets out of the one it has, and root gets what is in the bounding set
 * back at its next execve: so that is taken from both, whatever the plan says. Without CAP_SYS_ADMIN a filter may only
 * be loaded where no_new_privs is wanted anyhow; the one of the container that we are in holds in any case.
 */
function becomeWeaker(plan: ChrootPlan, own: bigint): void {
  const capabilities = plan.security.capabilities.filter(
    (name) => name !== CAP_SYS_CHROOT && (capabilityMask([name]) & own) !== 0n,
  );
  const filter = plan.security.noNewPrivileges ? seccompFilter(capabilities) : undefined;
  takeIdentity(
    { ...plan, security: { ...plan.security, capabilities }, filter: { kind: "default" } },
    filter,
  );
  trySyscall("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0);
}

/** Waits for the copy, and meanwhile for a `kill` or the driver's end. */
function waitFor({ pid, pidFd }: Copy): { readonly status: number; readonly killed: boolean } {
  let killed = false;
  while (!poll(killed ? [pidFd] : [CONTROL, pidFd]).at(-1)) {
    killed = true;
    trySyscall("kill", pid, 9);
    receive();
  }
  const status = reap(pid);
  close(pidFd);
  return { status, killed };
}

main();
