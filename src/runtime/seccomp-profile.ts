import { constants } from "node:os";
import { CooperError } from "../errors.js";
import { ALLOW, ERRNO, KILL_PROCESS } from "./bpf.js";
import { readJson } from "./json-text.js";
import type { JsonError, JsonObject, JsonValue } from "./json-text.js";

/** How an argument of a call is compared, in 64 bits. Source: libseccomp, seccomp_rule_add(3). */
export interface ArgumentTest {
  readonly index: number;
  readonly op: (typeof OPERATORS)[number];
  /** Of MASKED_EQ the mask; then `second` is what must be left. */
  readonly value: bigint;
  readonly second: bigint;
}

/** Where a rule holds; empty lists and undefined mean everywhere. */
export interface Condition {
  readonly caps: readonly string[];
  /** As Go names them: `amd64`, `arm64`. */
  readonly arches: readonly string[];
  readonly minKernel?: readonly [major: number, minor: number];
}

export interface ProfileRule {
  readonly names: readonly string[];
  /** What the filter answers, as `SECCOMP_RET_*`. */
  readonly action: number;
  readonly tests: readonly ArgumentTest[];
  readonly includes: Condition;
  readonly excludes: Condition;
}

/** A profile as docker and podman read it. */
export interface SeccompProfile {
  readonly defaultAction: number;
  /** Libseccomp's names of the architectures it is for: for each native one those that go with it. */
  readonly architectures: readonly { readonly native?: string; readonly others: readonly string[] }[];
  readonly rules: readonly ProfileRule[];
  /** `SECCOMP_FILTER_FLAG_*`. */
  readonly flags: number;
}

const OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] as const;
const EPERM = 1n;
const LAST_ERRNO = 4095n;

/** Source: seccomp(2) and libseccomp; KILL ends the thread, as it always did. */
const ACTIONS: Readonly<Record<string, { readonly answer: number; readonly takesErrno: boolean }>> = {
  SCMP_ACT_ALLOW: { answer: ALLOW, takesErrno: false },
  SCMP_ACT_LOG: { answer: 0x7ffc0000, takesErrno: false },
  SCMP_ACT_TRACE: { answer: 0x7ff00000, takesErrno: true },
  SCMP_ACT_ERRNO: { answer: ERRNO, takesErrno: true },
  SCMP_ACT_TRAP: { answer: 0x00030000, takesErrno: false },
  SCMP_ACT_KILL: { answer: 0, takesErrno: false },
  SCMP_ACT_KILL_THREAD: { answer: 0, takesErrno: false },
  SCMP_ACT_KILL_PROCESS: { answer: KILL_PROCESS, takesErrno: false },
};

/** TSYNC says nothing where one thread is all there is. */
const FLAGS: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: 0,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
};

/**
 * Reads a profile. Throws `usage` with the file and the place for what is no profile, `unsupported` for what needs a
 * listener. Names of unknown system calls are no mistake: profiles are written for many kernels.
 */
export function parseSeccompProfile(text: string, path: string): SeccompProfile {
  try {
    return profileOf(objectAt(readJson(text), "the profile"));
  } catch (error) {
    if (error instanceof CooperError) throw prefixed(error, path);
    const { line, column, message } = error as JsonError;
    throw new CooperError("usage", `seccomp profile ${path}:${line}:${column}: this is not JSON: ${message}`);
  }
}

function prefixed(error: CooperError, path: string): CooperError {
  return new CooperError(error.code, `seccomp profile ${path}: ${error.message}`, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

function mistake(place: string, what: string): CooperError {
  return new CooperError("usage", `${place} ${what}`);
}

function profileOf(given: JsonObject): SeccompProfile {
  onlyKeys(
    given,
    "defaultAction defaultErrnoRet defaultErrno architectures archMap syscalls flags comment listenerPath listenerMetadata",
    "the profile",
  );
  if (isGiven(given["listenerPath"]))
    throw new CooperError("unsupported", "listenerPath is not supported: nobody could listen");
  const architectures = stringsAt(given["architectures"], "architectures");
  const map = listAt(given["archMap"], "archMap").map((entry, index) =>
    archEntry(entry, `archMap[${index}]`),
  );
  if (architectures.length > 0 && map.length > 0)
    throw mistake("architectures", "and archMap exclude each other");
  const flags = stringsAt(given["flags"], "flags").map((name, index) => {
    const flag = FLAGS[name];
    if (flag === undefined) throw mistake(`flags[${index}]`, `cannot be "${name}"`);
    return flag;
  });
  return {
    defaultAction: actionAt(given, "default", ""),
    architectures: map.length > 0 ? map : [{ others: architectures }],
    rules: listAt(given["syscalls"], "syscalls").map((rule, index) => ruleOf(rule, `syscalls[${index}]`)),
    flags: flags.reduce((all, flag) => all | flag, 0),
  };
}

function archEntry(value: JsonValue, place: string): SeccompProfile["architectures"][number] {
  const entry = objectAt(value, place);
  onlyKeys(entry, "architecture subArchitectures", place);
  const native = stringAt(entry["architecture"], `${place}.architecture`);
  return { native, others: stringsAt(entry["subArchitectures"], `${place}.subArchitectures`) };
}

function ruleOf(value: JsonValue, place: string): ProfileRule {
  const rule = objectAt(value, place);
  onlyKeys(rule, "names name action errnoRet errno args comment includes excludes", place);
  const names = stringsAt(rule["names"], `${place}.names`);
  const name = isGiven(rule["name"]) ? [stringAt(rule["name"], `${place}.name`)] : [];
  if (names.length > 0 && name.length > 0) throw mistake(`${place}.name`, "and names exclude each other");
  return {
    names: [...name, ...names],
    action: actionAt(rule, "", place),
    tests: listAt(rule["args"], `${place}.args`).map((test, index) =>
      testOf(test, `${place}.args[${index}]`),
    ),
    includes: conditionOf(rule["includes"], `${place}.includes`),
    excludes: conditionOf(rule["excludes"], `${place}.excludes`),
  };
}

/** An action and its errno, under these keys or with "default" before them. */
function actionAt(given: JsonObject, prefix: "" | "default", place: string): number {
  const key = (name: string): string =>
    prefix === "" ? name : `${prefix}${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  const at = (name: string): string => (place === "" ? key(name) : `${place}.${key(name)}`);
  const name = stringAt(given[key("action")], at("action"));
  if (name === "SCMP_ACT_NOTIFY")
    throw new CooperError(
      "unsupported",
      `${at("action")}: SCMP_ACT_NOTIFY is not supported: nobody could listen`,
    );
  const action = ACTIONS[name];
  if (action === undefined) throw mistake(at("action"), `cannot be "${name}"`);
  const word = isGiven(given[key("errno")]) ? stringAt(given[key("errno")], at("errno")) : "";
  const named = word === "" ? undefined : errnoOf(word, at("errno"));
  const number = isGiven(given[key("errnoRet")])
    ? numberAt(given[key("errnoRet")], at("errnoRet"), LAST_ERRNO)
    : EPERM;
  return action.answer + (action.takesErrno ? Number(named ?? number) : 0);
}

function errnoOf(text: string, place: string): bigint {
  const number = Object.entries(constants.errno).find(([name]) => name === text)?.[1];
  if (number !== undefined) return BigInt(number);
  if (/^\d{1,4}$/.test(text) && BigInt(text) <= LAST_ERRNO) return BigInt(text);
  throw mistake(place, `cannot be "${text}": no such error`);
}

function testOf(value: JsonValue, place: string): ArgumentTest {
  const test = objectAt(value, place);
  onlyKeys(test, "index value valueTwo op comment", place);
  const name = stringAt(test["op"], `${place}.op`);
  const op = OPERATORS.find((known) => `SCMP_CMP_${known}` === name);
  if (op === undefined) throw mistake(`${place}.op`, `cannot be "${name}"`);
  const number = (key: string, largest: bigint): bigint =>
    isGiven(test[key]) ? numberAt(test[key], `${place}.${key}`, largest) : 0n;
  const largest = 2n ** 64n - 1n;
  return {
    index: Number(number("index", 5n)),
    op,
    value: number("value", largest),
    second: number("valueTwo", largest),
  };
}

function conditionOf(value: JsonValue | undefined, place: string): Condition {
  if (!isGiven(value)) return { caps: [], arches: [] };
  const given = objectAt(value, place);
  onlyKeys(given, "caps arches minKernel", place);
  const condition = {
    caps: stringsAt(given["caps"], `${place}.caps`),
    arches: stringsAt(given["arches"], `${place}.arches`),
  };
  if (!isGiven(given["minKernel"]) || given["minKernel"] === "") return condition;
  const text = stringAt(given["minKernel"], `${place}.minKernel`);
  const [, major, minor] = /^(\d{1,4})\.(\d{1,4})$/.exec(text) ?? [];
  if (major === undefined || minor === undefined)
    throw mistake(`${place}.minKernel`, `cannot be "${text}": it is MAJOR.MINOR`);
  return { ...condition, minKernel: [Number(major), Number(minor)] };
}

function isGiven(value: JsonValue | undefined): value is JsonValue {
  return value !== undefined && value !== null;
}

function onlyKeys(given: JsonObject, known: string, place: string): void {
  const names = known.split(" ");
  const unknown = Object.keys(given).find((key) => !names.includes(key));
  if (unknown !== undefined) throw mistake(place, `cannot have the key "${unknown}"`);
}

function objectAt(value: JsonValue, place: string): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw mistake(place, "is not an object");
}

function listAt(value: JsonValue | undefined, place: string): readonly JsonValue[] {
  if (!isGiven(value)) return [];
  if (Array.isArray(value)) return value as readonly JsonValue[];
  throw mistake(place, "is not an array");
}

function stringsAt(value: JsonValue | undefined, place: string): readonly string[] {
  return listAt(value, place).map((entry, index) => stringAt(entry, `${place}[${index}]`));
}

function stringAt(value: JsonValue | undefined, place: string): string {
  if (typeof value === "string") return value;
  throw mistake(place, value === undefined ? "is missing" : "is not a string");
}

function numberAt(value: JsonValue | undefined, place: string, largest: bigint): bigint {
  if (typeof value === "bigint" && value >= 0n && value <= largest) return value;
  throw mistake(place, `is not a whole number from 0 to ${largest}`);
}
