import { CooperError } from "../errors.js";
import type { Flag, Instruction, RunMount } from "../parser/index.js";
import { mountRelabels } from "../parser/index.js";
import type { DriverChoice, Need } from "../runtime/index.js";
import { traitsOf } from "../runtime/index.js";
import type { SourceText, Span } from "../source.js";
import type { BuildEngine, DriverOutlook } from "./engine.js";
import type { PlannedInstruction } from "./known-variables.js";
import { notGiven } from "./mounts/not-given.js";
import type { BuildPlan, StagePlan } from "./plan.js";
import { refuseRelabelling } from "./selinux.js";
import { powersOf } from "./steps/run-powers.js";

interface Place {
  readonly source: SourceText;
  readonly span: Span;
}

interface AskedNeed extends Need {
  /** Missing for what an option of the build asks. */
  readonly place?: Place;
}

/** Refuses what the driver of this build cannot do, before the first step. Throws as `refuseUnserved` does. */
export async function refuseUnservedRuns(plan: BuildPlan, engine: BuildEngine): Promise<void> {
  const { outlook } = engine;
  if (outlook === undefined || !plan.stages.some(({ instructions }) => instructions.some(isRun))) return;
  await refuseUnserved(
    outlook,
    plan.stages.flatMap((stage) => needsOfStage(stage, engine)),
  );
}

/**
 * Refuses what the driver cannot do of what is needed and of what the options ask for. Asks for the driver only where
 * somebody asks for what not every driver has, or insists on one: otherwise it is found out when the first process is to
 * start. Throws `unsupported`, with the place of the flag, and `sandbox`.
 */
export async function refuseUnserved(
  outlook: DriverOutlook,
  needs: readonly AskedNeed[] = [],
): Promise<void> {
  const asked: readonly AskedNeed[] = [...needs, ...outlook.needs];
  if (asked.length === 0 && !outlook.insists) return;
  const choice = await outlook.driver();
  for (const need of asked) {
    const reason = traitsOf(choice.driver).refuses(need);
    if (reason !== undefined) throw refusal(choice, reason, need.place, outlook.insists);
  }
  if (asked.some(({ kind }) => SETTINGS.includes(kind))) await outlook.checkSettings();
}

/** What the machine decides, and not the driver alone. */
const SETTINGS: readonly Need["kind"][] = ["limit", "device", "userns"];

/** Throws `unsupported` with the place of the first mount that wants labels changed where there are some. */
export function refuseLabels({ stages }: BuildPlan): void {
  for (const { instruction, at } of stages.flatMap(({ instructions }) => instructions)) {
    if (instruction.kind !== "RUN") continue;
    for (const { name, value = "", span } of instruction.flags) {
      if (name === "mount" && mountRelabels(value))
        refuseRelabelling("RUN --mount", { source: at.source, span, hint: "leave out z, Z and relabel" });
    }
  }
}

function isRun({ instruction }: PlannedInstruction): boolean {
  return instruction.kind === "RUN";
}

function needsOfStage({ instructions, mounts }: StagePlan, engine: BuildEngine): readonly AskedNeed[] {
  return instructions.flatMap(({ instruction, at: { source } }) => {
    if (instruction.kind !== "RUN") return [];
    const { flags } = instruction;
    const own = flags.flatMap((flag) =>
      needsOfFlag(flag, mounts.get(flag)).map((need) => ({ ...need, place: { source, span: flag.span } })),
    );
    const isQuiet = !flags.some(({ name }) => name === "network");
    return isQuiet && powersOf(flags, engine.runSettings).network === "none" ? [...own, NETWORK_NONE] : own;
  });
}

const NETWORK_NONE: Need = { kind: "network-none", what: "--network=none" };

/** `mount`: undefined where a variable of the base image decides; there the driver itself refuses it. */
function needsOfFlag({ name, value = "" }: Flag, mount: RunMount | undefined): readonly Need[] {
  if (name === "network" && value === "none") return [NETWORK_NONE];
  if (name === "security" && value === "insecure") return [{ kind: "insecure", what: "--security=insecure" }];
  if (mount?.type === "tmpfs" && mount.size !== undefined)
    return [{ kind: "tmpfs-size", what: "the size of a tmpfs" }];
  return [];
}

function refusal(
  { driver, skipped }: DriverChoice,
  reason: string,
  place: Place | undefined,
  insists: boolean,
): CooperError {
  const why = skipped.map((each) => `${each.driver} does not work here: ${each.reason}`);
  return new CooperError("unsupported", `isolation "${driver}" cannot do this: ${reason}`, {
    ...place,
    hint: insists
      ? `leave out --isolation ${driver}: another one may work here`
      : `${why.join("; ")}; cooper doctor says what to change`,
  });
}

/** Throws `not-found` with the place of the first mount whose secret or agent is required and was not given. */
export function refuseUngiven({ stages }: BuildPlan, engine: BuildEngine): void {
  for (const stage of stages) refuseUngivenIn(stage, stage.instructions, engine);
}

/**
 * The same when a step is to run that makes a layer: no step after it is cached then, nor any of a stage that is built on
 * its own. Until then a build may be cached, and nobody asks for what it does not need.
 */
export function refuseUngivenAfter(
  plan: BuildPlan,
  stage: StagePlan,
  rest: readonly Instruction[],
  engine: BuildEngine,
): void {
  const later = stage.instructions.filter(({ instruction }) => rest.includes(instruction));
  refuseUngivenIn(stage, later, engine);
  const above = new Set([stage.index]);
  for (const next of plan.stages) {
    if (next.base.kind !== "stage" || !above.has(next.base.stage)) continue;
    above.add(next.index);
    refuseUngivenIn(next, next.instructions, engine);
  }
}

function refuseUngivenIn(
  { mounts }: StagePlan,
  instructions: readonly PlannedInstruction[],
  engine: BuildEngine,
): void {
  for (const { instruction, at } of instructions) {
    if (instruction.kind !== "RUN") continue;
    for (const flag of instruction.flags) {
      const mount = mounts.get(flag);
      if (mount?.type !== "secret" && mount?.type !== "ssh") continue;
      if (!mount.required || engine.isGiven(mount.type, mount.id)) continue;
      throw notGiven(mount.type, mount.id, { source: at.source, span: flag.span });
    }
  }
}
