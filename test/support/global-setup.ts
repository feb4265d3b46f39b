import { execFileSync } from "node:child_process";

/** Tests of the command and of the sandbox run the bundle: make it from the sources as they are now. */
export function setup(): void {
  if (process.env["COOPER_TEST_NO_BUILD"] === "1") return;
  execFileSync(process.execPath, ["scripts/build.mjs", "--fast"], { stdio: "inherit" });
}
