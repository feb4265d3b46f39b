import { CooperError } from "../../errors.js";

/** New permission bits for an entry. */
export type Chmod = (mode: number, isDirectory: boolean) => number;

const CLAUSE = /^([ugoa]*)([-+=])([rwxXst]*)$/;

/** Parses `--chmod`: octal (`755`, `0644`, `4755`) or symbolic (`u=rwX,go=rX`). Throws `usage`. */
export function parseChmod(text: string): Chmod {
  if (/^[0-7]{1,4}$/.test(text)) {
    const bits = Number.parseInt(text, 8);
    return () => bits;
  }
  const clauses = text.split(",").map((clause) => CLAUSE.exec(clause));
  if (text === "" || clauses.some((clause) => clause === null)) {
    throw new CooperError("usage", `--chmod=${text}: must be octal like 755, or symbolic like u=rwX,go=rX`);
  }
  return (mode, isDirectory) =>
    clauses.reduce(
      (bits, clause) =>
        applyClause(bits, clause?.[1] || "a", clause?.[2] ?? "+", clause?.[3] ?? "", isDirectory),
      mode,
    );
}

const SHIFTS: Readonly<Record<string, number>> = { u: 6, g: 3, o: 0 };

function applyClause(
  mode: number,
  who: string,
  operator: string,
  permissions: string,
  isDirectory: boolean,
): number {
  const classes = who.includes("a") ? ["u", "g", "o"] : Array.from(who);
  const executable = isDirectory || (mode & 0o111) !== 0;
  let bits = 0;
  let cleared = 0;
  for (const name of classes) {
    const shift = SHIFTS[name] ?? 0;
    cleared |= 0o7 << shift;
    if (permissions.includes("r")) bits |= 0o4 << shift;
    if (permissions.includes("w")) bits |= 0o2 << shift;
    if (permissions.includes("x") || (permissions.includes("X") && executable)) bits |= 0o1 << shift;
    if (permissions.includes("s")) bits |= name === "u" ? 0o4000 : name === "g" ? 0o2000 : 0;
    if (name !== "o") cleared |= isDirectory ? 0 : name === "u" ? 0o4000 : 0o2000;
  }
  if (permissions.includes("t")) bits |= 0o1000;
  if (operator === "+") return mode | bits;
  if (operator === "-") return mode & ~bits;
  return (mode & ~cleared) | bits;
}
