import { hostPlatform } from "../../image/index.js";
import { emulated, listsHandlers } from "../emulation.js";
import { HOST_PATH } from "../host-path.js";
import type { Check } from "./check.js";
import { whereIs } from "./ids.js";
import { versionOf } from "./network.js";

const RUNTIMES = ["crun", "runc", "youki"];

/** OCI runtimes and what they call themselves. */
export async function checkRuntimes(): Promise<readonly Check[]> {
  const installed = RUNTIMES.flatMap((name) => {
    const path = whereIs(name, HOST_PATH);
    return path === undefined ? [] : [{ name, path }];
  });
  const group = "runtimes";
  if (installed.length === 0) {
    const advice = "for --isolation oci install the Debian package crun or runc";
    return [{ name: "OCI runtime", group, ok: false, found: "none is installed", advice }];
  }
  return Promise.all(
    installed.map(async ({ name, path }) => ({ name, group, ...(await versionOf(path)) }) as const),
  );
}

/** For which other processors programs run here. */
export function checkEmulation(): Check {
  const base = { name: "binfmt", group: "emulation" } as const;
  const others = emulated();
  const own = hostPlatform().architecture;
  if (others.length > 0) return { ...base, ok: true, found: `${own}; emulated: ${others.join(" ")}` };
  const advice =
    "to build for other platforms install the Debian package qemu-user-static (qemu-user-binfmt since Debian 13) on the machine itself";
  if (!listsHandlers())
    return { ...base, ok: "unknown", found: `${own}; binfmt_misc is not mounted, or hidden`, advice };
  return { ...base, ok: false, found: `${own} alone: no handler with the flag F`, advice };
}
