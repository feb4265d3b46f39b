import { openSync, readFileSync, readSync, readlinkSync, writeSync } from "node:fs";
import { execute, openStdin, resetSignals, settle, takeIdentity, takeStdio } from "./become.js";
import { capabilityMask } from "./capabilities.js";
import { receive, receiveBytes, send } from "./control.js";
import { copySelf, exit, poll, readAll, reap } from "./copy.js";
import type { Copy } from "./copy.js";
import { endDescendants, endProcessesIn } from "./descendants.js";
import { holdCaches, lendFurniture, rescueCaches } from "./furniture.js";
import type { HeldCaches } from "./furniture.js";
import type { ChrootPlan, HelperMessage, Refusal } from "./helper-plan.js";
import { CONTROL, INHERITED } from "./helper-plan.js";
import { openLoans } from "./loans.js";
import type { Loans } from "./loans.js";
import { doing, refusalOf } from "./refusal.js";
import { seccompFilter } from "./seccomp.js";
import { cString, close, loadKernel, makePipe, syscall, trySyscall } from "./syscalls.js";

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
    send(serve(plan.plan, own, plan.stdout, plan.stderr));
    for (const fd of plan.all) close(fd);
  }
}

/** When memory runs out the command should go, neither cooper nor this helper, which has to clean up. Raising it needs no right. */
function offerMemory(): void {
  const score = openSync("/proc/self/oom_score_adj", "r+");
  if (readScore(score) < 500) writeSync(score, "500");
  close(score);
}

function readScore(fd: number): number {
  const text = Buffer.alloc(16);
  return Number(text.toString("latin1", 0, readSync(fd, text, 0, text.length, 0)));
}

function ownCapabilities(): bigint {
  const [, permitted = "0"] =
    /^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return BigInt(`0x${permitted}`);
}

interface Work {
  readonly plan: ChrootPlan;
  readonly stdout: number;
  readonly stderr: number;
  readonly all: readonly number[];
}

/** Undefined when the driver has gone. A `kill` that comes too late is none. */
function nextPlan(pid: number): Work | undefined {
  const [out, err] = [makePipe(), makePipe()];
  send({ type: "ready", pid, stdout: out.readEnd, stderr: err.readEnd });
  for (let request = receive(); request !== undefined; request = receive()) {
    if (request.type === "rescue") send(rescue(request.dir));
    if (request.type !== "chroot") continue;
    const all = [out.readEnd, out.writeEnd, err.readEnd, err.writeEnd];
    return { plan: request, stdout: out.writeEnd, stderr: err.writeEnd, all };
  }
  return undefined;
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
function serve(plan: ChrootPlan, own: bigint, stdout: number, stderr: number): HelperMessage {
  let bytes: number | undefined;
  let held: HeldCaches | undefined;
  let message: HelperMessage | undefined;
  try {
    if (plan.stdin === "bytes") bytes = receiveBytes(plan.stdinBytes);
    held = holdCaches(plan.mounts);
    const loans = openLoans(plan.dir);
    const streams = plan.stdio === "pipe" ? { stdout, stderr } : INHERITED;
    message = runFurnished({ plan, own, loans, bytes, ...streams });
    doing("end what the command left running", endDescendants);
    const restored = doing("put back what the root file system had", () => loans.giveBack());
    return message.type === "exit" ? { ...message, restored } : message;
  } catch (error) {
    return message?.type === "refused" ? message : { type: "refused", refusal: refusalOf(error) };
  } finally {
    held?.letGo();
    if (bytes !== undefined) close(bytes);
  }
}

function runFurnished(command: Command): HelperMessage {
  try {
    lendFurniture(command.loans, command.plan);
    command.loans.settle();
    return run(command);
  } catch (error) {
    return { type: "refused", refusal: refusalOf(error) };
  }
}

interface Command {
  readonly plan: ChrootPlan;
  readonly own: bigint;
  readonly loans: Loans;
  readonly bytes: number | undefined;
  readonly stdout: number;
  readonly stderr: number;
}

function run(command: Command): HelperMessage {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const report = makePipe();
    const copy = doing("start a process", copySelf);
    if (copy === undefined) becomeCommand(command, report.writeEnd);
    close(report.writeEnd);
    const said = readAll(report.readEnd);
    const { status, killed } = waitFor(copy);
    if (said === "" && killed) return { type: "exit", status };
    if (said === "") continue;
    const { refusal } = JSON.parse(said) as { readonly refusal?: Refusal };
    return refusal === undefined ? { type: "exit", status } : { type: "refused", refusal };
  }
  throw new Error("the helper's copy crashed");
}

/** In the copy. Leaves only by execve or exit_group: Node's own way out would wait for threads that were not copied. */
function becomeCommand({ plan, own, loans, bytes, stdout, stderr }: Command, report: number): never {
  try {
    syscall("setsid", undefined);
    offerMemory();
    const stdin = openStdin(plan, bytes);
    doing("enter the root file system", () => {
      syscall("fchdir", plan.dir, loans.rootFd);
      syscall("chroot", plan.dir, cString("."));
    });
    settle(plan);
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
