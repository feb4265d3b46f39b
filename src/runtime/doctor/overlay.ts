import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { explainRefusal } from "../explain.js";
import type { Refusal } from "../helper-plan.js";
import { rootAdvice, STORE_ADVICE } from "./advice.js";
import { attempt } from "./attempt.js";
import type { Check } from "./check.js";
import { refusedBy } from "./check.js";
import type { OwnRights } from "./facts.js";

/** More than one page of options holds with whole paths, and than the 64 that some tools stop at. */
const MANY = 80;

export interface OverlayPlace {
  /** A directory of the store's file system; what is made in it is removed. */
  readonly scratchDir: string;
  /** The file of overlay-child.ts. */
  readonly childPath: string;
  readonly userNamespace: boolean;
}

/** Mounts overlays on the store's file system, in a mount namespace that ends with the try. */
export async function checkOverlay(place: OverlayPlace, rights: OwnRights): Promise<readonly Check[]> {
  return [
    await tryOverlay("overlay", 1, place, rights),
    await tryOverlay("many layers", MANY, place, rights),
  ];
}

async function tryOverlay(
  name: string,
  layers: number,
  { scratchDir, childPath, userNamespace }: OverlayPlace,
  rights: OwnRights,
): Promise<Check> {
  const base = { name, group: "overlay" } as const;
  const dir = mkdtempSync(join(scratchDir, "doctor-"));
  try {
    furnish(dir, layers);
    const child = [process.execPath, "--no-warnings", childPath, dir, String(layers)];
    const marks = userNamespace ? "user" : "trusted";
    const result = await attempt(["unshare", "--mount", "--propagation", "private", "--", ...child, marks]);
    if (!result.ok) {
      const { found } = result.refused;
      return { ...base, ok: "unknown", found: `cannot be tried without a mount namespace: ${found}` };
    }
    const refusal = JSON.parse(result.said) as Partial<Refusal>;
    if (refusal.message === undefined)
      return { ...base, ok: true, found: `${layers} lower, marks in ${marks}.* attributes` };
    return { ...base, ok: false, ...explained(refusal as Refusal, rights) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function furnish(dir: string, layers: number): void {
  for (const name of ["upper", "work"]) mkdirSync(join(dir, name));
  for (let i = 0; i < layers; i += 1) mkdirSync(join(dir, `lower-${i}`));
  writeFileSync(join(dir, `lower-${layers - 1}`, "file"), "");
  mkdirSync(join(dir, `lower-${layers - 1}`, "directory"));
}

function explained(refusal: Refusal, rights: OwnRights): Omit<Check, "name" | "group" | "ok"> {
  const { call, errno } = refusal;
  const { message } = explainRefusal(refusal);
  const advice =
    errno === "ENODEV"
      ? "modprobe overlay on the machine itself"
      : errno === "EPERM" || errno === "EACCES"
        ? rootAdvice(rights)
        : STORE_ADVICE;
  return { ...refusedBy(message, call), ...(errno === undefined ? {} : { errno }), advice };
}
