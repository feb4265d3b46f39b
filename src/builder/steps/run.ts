import type { DiffId } from "../../image/index.js";
import type { KeyComponent } from "../../cache/index.js";
import type { RunInstruction } from "../../parser/index.js";
import { withBodies } from "../../parser/index.js";
import type { SandboxMount, SandboxPlan, SandboxRootfs } from "../../runtime/index.js";
import { proxyEnv } from "../args.js";
import type { BuildEngine } from "../engine.js";
import type { Expansion } from "../expand.js";
import type { OpenMount, PreparedMount } from "../mounts/index.js";
import { openMounts, prepareMounts } from "../mounts/index.js";
import { networkFiles } from "../network-files.js";
import { noticeOfProxies } from "../proxy-notice.js";
import type { StepNetwork } from "../run-settings.js";
import type { StageOptions } from "../stage.js";
import type { StageState } from "../state.js";
import { DEFAULT_PATH, envOf, shellOf, workdirOf } from "../state.js";
import type { UserIds } from "../users.js";
import { resolveUser } from "../users.js";
import { failStep, hasSucceeded, runToItsEnd } from "./run-failure.js";
import { insecureSecurity, powerComponents, powersOf } from "./run-powers.js";
import type { RunPowers } from "./run-powers.js";
import type { PreparedStep, StepSite } from "./step.js";

/** Where a heredoc script is found inside the sandbox. */
const SCRIPT_PATH = "/run/cooper-script";

/** A RUN as a process: what is executed, and the script file it needs, if any. */
interface RunProcess {
  readonly argv: readonly string[];
  /** What the history calls it, when that is not `argv`. */
  readonly told?: string;
  readonly script?: string;
}

/** A RUN with its place. */
interface RunStep {
  readonly instruction: RunInstruction;
  readonly at: Expansion;
  readonly site: StepSite;
}

/** Prepares a RUN: its key is made of what the process can see; executing it runs the sandbox and commits the upper directory. */
export async function prepareRun(
  { instruction, at, site }: RunStep,
  state: StageState,
  options: StageOptions,
): Promise<PreparedStep> {
  const mounts = await prepareMounts(instruction, at, state, options);
  const files = mounts.flatMap((mount) => mount.files ?? []);
  const process = processOf(instruction, state);
  const powers = powersOf(instruction.flags, options.engine.runSettings);
  return {
    components: [
      { name: "argv", value: JSON.stringify([process.argv, process.script ?? ""]), label: "the command" },
      ...envComponents(state),
      ...Object.entries(definedArgs(state))
        .toSorted(byName)
        .map(([name, value]) => argComponent(name, value, process)),
      { name: "user", value: state.config.config.User ?? "", label: "USER" },
      { name: "workdir", value: workdirOf(state.config.config), label: "WORKDIR" },
      ...powerComponents(powers, options.engine.runSettings),
      ...mounts.flatMap((mount) => mount.components),
    ],
    ...(mounts.some((mount) => mount.files !== undefined) ? { files } : {}),
    createdBy: historyOf(process, state),
    execute: (engine) => execute(process, { ...powers, mounts }, state, site, engine),
  };
}

function processOf(instruction: RunInstruction, state: StageState): RunProcess {
  const { command, heredocs } = instruction;
  if (command.form === "exec") return { argv: command.argv };
  const shell = shellOf(state.config.config);
  const [first] = heredocs;
  if (!first) return { argv: [...shell, command.text] };
  if (heredocs.length === 1 && command.text.trim() === first.opener) {
    return first.body.startsWith("#!")
      ? { argv: [SCRIPT_PATH], script: first.body }
      : { argv: [...shell, first.body] };
  }
  const text = withBodies(command.text, heredocs);
  return { argv: [...shell, `${text}\n`], told: [...shell, text].join(" ") };
}

function envComponents(state: StageState): readonly KeyComponent[] {
  return [...envOf(state.config.config)].map(([name, value]) => ({
    name: `env ${name}`,
    value,
    label: `ENV ${name}`,
  }));
}

function argComponent(name: string, value: string, process: RunProcess): KeyComponent {
  const read = JSON.stringify(process).includes(name);
  return {
    name: `arg ${name}`,
    value,
    opaque: true,
    label: read ? `ARG ${name}` : `ARG ${name} changed, and this step does not read it`,
  };
}

/** As docker writes it: `RUN |2 A=1 B=2 /bin/sh -c command`. */
function historyOf(process: RunProcess, state: StageState): string {
  const args = [...state.args].map(([name, value]): readonly [string, string] => [name, value ?? ""]);
  const given = args.length === 0 ? "" : `|${args.length} ${args.map(([k, v]) => `${k}=${v}`).join(" ")} `;
  const shell = shellOf(state.config.config);
  const text = process.told ?? process.argv.join(" ");
  return `RUN ${given}${process.script === undefined ? text : `${shell.join(" ")} ${process.script}`}`;
}

async function execute(
  process: RunProcess,
  flags: RunPowers & { readonly mounts: readonly PreparedMount[] },
  state: StageState,
  site: StepSite,
  engine: BuildEngine,
): ReturnType<PreparedStep["execute"]> {
  // It takes some milliseconds the first time, in which there is other work.
  const network = engine.network(flags.network);
  network.catch(() => undefined);
  const snapshotter = await engine.snapshotter();
  await using volumes = await engine.volumes();
  await using opened = await openMounts(flags.mounts, engine);
  await using rootfs = await snapshotter.prepare(state.config.rootfs.diff_ids, engine.signal);
  const shown = { mounts: [...volumes.mounts, ...opened.mounts], env: opened.env };
  const plan = await planOf({ process, powers: flags, network, rootfs, opened: shown }, state, site, engine);
  const end = await runToItsEnd(plan, site, engine);
  if (!hasSucceeded(end)) {
    const createdBy = historyOf(process, state);
    return await failStep({ end, plan, rootfs, state, createdBy, site }, engine);
  }
  return { diffId: (await snapshotter.commit(rootfs)).diffId };
}

/** The process of a RUN with all that it sees. */
async function planOf(
  run: {
    readonly process: RunProcess;
    readonly powers: RunPowers;
    readonly network: Promise<StepNetwork>;
    readonly rootfs: SandboxRootfs;
    readonly opened: Pick<OpenMount, "mounts" | "env">;
  },
  state: StageState,
  site: StepSite,
  engine: BuildEngine,
): Promise<SandboxPlan> {
  const { process, powers, rootfs, opened } = run;
  const { config, rootfs: stack } = state.config;
  const { network: names, ...settings } = engine.runSettings;
  const user = await userOf(engine, stack.diff_ids, config.User);
  const network = await run.network;
  const script = process.script === undefined ? {} : { script: process.script };
  const files = networkFiles(engine, names, network, script);
  const mounts: SandboxMount[] = [...files.mounts];
  if (files.scriptPath !== undefined)
    mounts.push({ type: "bind", source: files.scriptPath, target: SCRIPT_PATH, readOnly: true });
  mounts.push(...opened.mounts);
  const env = {
    PATH: DEFAULT_PATH,
    HOME: user.home,
    ...proxyEnv(site.buildArgs, engine.environment),
    ...Object.fromEntries(envOf(config)),
    ...definedArgs(state),
    ...opened.env,
  };
  await noticeOfProxies(env, network, engine);
  return {
    rootfs,
    argv: process.argv,
    env,
    cwd: workdirOf(config),
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    hostname: files.hostname,
    ...network.plan,
    mounts,
    ...settings,
    ...(powers.isInsecure ? { security: await insecureSecurity(settings.security) } : {}),
    stdin: "null",
    stdio: "pipe",
  };
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}

function definedArgs({ args }: StageState): Readonly<Record<string, string>> {
  return Object.fromEntries([...args].filter((arg): arg is [string, string] => arg[1] !== undefined));
}

async function userOf(
  engine: BuildEngine,
  stack: readonly DiffId[],
  user: string | undefined,
): Promise<UserIds> {
  using view = await (await engine.snapshotter()).view(stack);
  return resolveUser(view, user === undefined || user === "" ? "0" : user);
}
