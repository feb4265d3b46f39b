import { execFileSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";

/** What the bundle finds through node_modules: koffi and its machine code. */
const MODULES = ["koffi", "@koromix"];

/**
 * Puts the packages that our bundles need at run time into `dir/node_modules`, readable for everybody: a checkout may lie
 * where an ordinary user, as some tests need one, cannot look.
 */
export function copyModules(dir: string): void {
  for (const name of MODULES) {
    cpSync(join("node_modules", name), join(dir, "node_modules", name), {
      recursive: true,
      dereference: true,
    });
  }
  execFileSync("chmod", ["-R", "a+rX", dir]);
}
