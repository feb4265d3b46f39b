import { closeSync, openSync } from "node:fs";
import { errnoOf } from "../../errors.js";
import { HOST_PATH } from "../host-path.js";
import { privateNetwork } from "../network.js";
import { namespaceAdvice, tunAdvice } from "./advice.js";
import { attempt } from "./attempt.js";
import type { Check } from "./check.js";
import { PATIENCE_MS, refusedBy } from "./check.js";
import type { OwnRights } from "./facts.js";
import { whereIs } from "./ids.js";

const FORWARDERS = { slirp4netns: "slirp4netns", pasta: "passt" } as const;

/** The device, the programs, and what comes of `--network=default`, which is opened and closed again. */
export async function checkNetwork(rights: OwnRights): Promise<readonly Check[]> {
  const programs = await Promise.all([programCheck("slirp4netns"), programCheck("pasta")]);
  const hasOne = programs.some(({ ok }) => ok === true);
  // One is enough: then that the other is not there is no fault.
  const told = programs.map((each) => (hasOne && each.ok === false ? withoutFault(each) : each));
  return [tunCheck(), ...told, await defaultCheck(rights)];
}

function tunCheck(): Check {
  const base = { name: "/dev/net/tun", group: "network" } as const;
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
    return { ...base, ok: true, found: "can be opened" };
  } catch (error) {
    const errno = errnoOf(error) ?? "failed";
    const found = errno === "ENOENT" ? "open: not there (ENOENT)" : `open: refused (${errno})`;
    return { ...base, ok: false, found, call: "open", errno, advice: tunAdvice(errno) };
  }
}

async function programCheck(name: keyof typeof FORWARDERS): Promise<Check> {
  const base = { name, group: "network" } as const;
  const path = whereIs(name, HOST_PATH);
  if (path === undefined) {
    const advice = `install the Debian package ${FORWARDERS[name]}`;
    return { ...base, ok: false, found: "not installed", advice };
  }
  return { ...base, ...(await versionOf(path)) };
}

/** The first line of `--version`. */
export async function versionOf(path: string): Promise<Pick<Check, "ok" | "found" | "call" | "errno">> {
  const result = await attempt([path, "--version"]);
  if (!result.ok) return { ok: false, ...result.refused };
  return { ok: true, found: `${result.said.trim().split("\n")[0] ?? ""} (${path})` };
}

function withoutFault({ name, group, found }: Check): Check {
  return { name, group, ok: "unknown", found: `${found}, and not needed` };
}

async function defaultCheck(rights: OwnRights): Promise<Check> {
  const base = { name: "--network=default", group: "network" } as const;
  await using network = privateNetwork();
  const late = new Promise<void>((resolve) => {
    setTimeout(resolve, PATIENCE_MS).unref();
  });
  const outcome = await Promise.race([network.open(), late]);
  if (typeof outcome !== "object")
    return { ...base, ok: "unknown", found: `no answer within ${PATIENCE_MS / 1000} s` };
  if (outcome.kind === "private") {
    const program = outcome.reachesHost ? "slirp4netns" : "pasta";
    return { ...base, ok: true, found: `a network of its own, by ${program}` };
  }
  const refused = refusedBy(outcome.reason);
  const { call, errno } = refused;
  const advice = outcome.reason.includes("/dev/net/tun")
    ? tunAdvice(errno ?? "ENOENT")
    : outcome.reason.includes("installed")
      ? "install the Debian package slirp4netns (or passt)"
      : namespaceAdvice(refused, rights, "net");
  return {
    ...base,
    ok: false,
    found: `this machine's network, since ${outcome.reason}`,
    ...(call === undefined ? {} : { call }),
    ...(errno === undefined ? {} : { errno }),
    ...(advice === undefined ? {} : { advice }),
  };
}
