import { accessSync, constants } from "node:fs";

// /usr/sbin is not on an ordinary user's PATH, and some of the programs live there.
const directories = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where a program is, or undefined. */
export function programPath(name: string): string | undefined {
  return directories.map((directory) => `${directory}/${name}`).find(isExecutable);
}
