import { usage } from "../args.js";

/** `K=V` and bare `K` as a record, the last of each winning; `bare` is the value of a key without one. */
export function keyValues<B extends string | undefined>(
  flag: string,
  given: readonly string[],
  bare: B,
): Readonly<Record<string, string | B>> {
  const entries = given.map((text): [string, string | B] => {
    const equals = text.indexOf("=");
    const key = equals < 0 ? text : text.slice(0, equals);
    if (key === "") throw usage(`${flag}: "${text}" has no name before the =`);
    return [key, equals < 0 ? bare : text.slice(equals + 1)];
  });
  return Object.fromEntries(entries);
}
