import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Cooper, Diagnosis, DoctorCheck, DoctorDriver } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import type { DriverCheck } from "../runtime/doctor/index.js";
import * as checks from "../runtime/doctor/index.js";
import type { SandboxOptions } from "../runtime/index.js";
import { distFile } from "./workshop.js";
import type { Workshop } from "./workshop.js";

export interface DoctorPart {
  readonly signal?: AbortSignal;
  /** What an engine is asked: only what its own rights decide. */
  readonly part?: "inside";
}

/** Everything, where this process has the rights that a build needs, or nobody else has more. */
export async function diagnose(workshop: Workshop, { part, signal }: DoctorPart): Promise<Diagnosis> {
  if (part === "inside") return examineInside(workshop, signal);
  (await workshop.verdicts()).forget();
  return joined(await examineOutside(workshop), await examineInside(workshop, signal));
}

/** What the caller's rights decide by the caller, and what the engine's do by an engine, if there can be one. */
export async function diagnoseByEngine(
  local: Cooper,
  workshop: Workshop,
  options: { readonly signal?: AbortSignal },
): Promise<Diagnosis> {
  const { callEngine, isLastResort } = await import("./remote.js");
  (await workshop.verdicts()).forget();
  if (await isLastResort(workshop, undefined)) {
    workshop.grant();
    return local.doctor(options);
  }
  const outside = await examineOutside(workshop);
  const call = { method: "doctor", args: [{ part: "inside" }], ...options };
  try {
    return joined(outside, (await callEngine(workshop, call)) as Diagnosis);
  } catch (error) {
    if (!hasCode(error, "sandbox")) throw error;
    return joined(outside, await examineWithout(error as CooperError));
  }
}

/** In the caller: who that is, what is installed, and where the store lies. */
async function examineOutside(workshop: Workshop): Promise<readonly DoctorCheck[]> {
  const rights = checks.readOwnRights();
  return [
    ...checks.checkSystem(rights),
    await checks.checkUserNamespace(rights),
    ...(await checks.checkIds(!rights.isRoot ? "user" : workshop.privileged ? "root" : "weak-root")),
    ...(await checks.checkRuntimes()),
    checks.checkEmulation(),
    ...checks.checkStore(workshop.root, storeRefusal(workshop)),
  ];
}

function storeRefusal(workshop: Workshop): CooperError | undefined {
  try {
    workshop.store.images();
    return undefined;
  } catch (error) {
    if (error instanceof CooperError) return error;
    throw error;
  }
}

/** Where processes would be started: root here, or in the user namespace of an engine. */
async function examineInside(workshop: Workshop, signal: AbortSignal | undefined): Promise<Diagnosis> {
  const rights = checks.readOwnRights();
  using place = scratchOf(workshop);
  const found: DoctorCheck[] = [...(await checks.checkNamespaces(rights))];
  signal?.throwIfAborted();
  found.push(
    ...(await checks.checkOverlay({ ...place.options, childPath: distFile("overlay-child.cjs") }, rights)),
  );
  found.push(...(await checks.checkCgroups((await workshop.rights()).uid === 0)));
  found.push(...(await checks.checkOwnNamespace(place.options)));
  signal?.throwIfAborted();
  found.push(...(await checks.checkNetwork(rights)));
  signal?.throwIfAborted();
  return diagnosisOf(found, await checks.checkDrivers(place.options, await workshop.verdicts(), rights));
}

/** As an ordinary user who may have no namespace: what is refused says so by itself. */
async function examineWithout({ message, hint }: CooperError): Promise<Diagnosis> {
  const rights = checks.readOwnRights();
  const verdict = { works: false, message, ...(hint === undefined ? {} : { hint }) } as const;
  const found = [
    ...(await checks.checkNamespaces(rights)),
    {
      name: "overlay",
      group: "overlay",
      ok: "unknown",
      found: "cannot be tried without a mount namespace",
    } as const,
    ...(await checks.checkCgroups(false)),
    ...(await checks.checkNetwork(rights)),
  ];
  return diagnosisOf(found, checks.refusedDrivers(verdict, rights));
}

/** The store's scratch directory; elsewhere where the store cannot be written, which its own check says. */
function scratchOf(workshop: Workshop): Disposable & { readonly options: SandboxOptions } {
  try {
    return { options: workshop.sandboxOptions(), [Symbol.dispose]: () => undefined };
  } catch (error) {
    if (!(error instanceof CooperError)) throw error;
    const scratchDir = mkdtempSync(join(tmpdir(), "cooper-doctor-"));
    return {
      options: workshop.sandboxOptions(scratchDir),
      [Symbol.dispose]: () => rmSync(scratchDir, { recursive: true, force: true }),
    };
  }
}

function diagnosisOf(found: readonly DoctorCheck[], drivers: readonly DriverCheck[]): Diagnosis {
  const works: DoctorDriver | undefined = drivers.find(({ ok }) => ok);
  return { checks: found, drivers, chosen: works?.name ?? null };
}

function joined(outside: readonly DoctorCheck[], inside: Diagnosis): Diagnosis {
  const all = [...outside, ...inside.checks];
  return { ...inside, checks: checks.GROUPS.flatMap((group) => all.filter((each) => each.group === group)) };
}
