import { execFileSync } from "node:child_process";
import { giveContainersIds } from "./container-ids.js";

/** Tests of the command and of the sandbox run the bundle: make it from the sources as they are now. */
export function setup(): () => void {
  build();
  return giveContainersIds();
}

function build(): void {
  if (process.env["COOPER_TEST_NO_BUILD"] === "1") return;
  execFileSync(process.execPath, ["scripts/build.mjs", "--fast"], { stdio: "inherit" });
}
