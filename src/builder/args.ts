import type { Platform } from "../image/index.js";
import { formatPlatform, hostPlatform } from "../image/index.js";

/** The platform ARGs that exist before the first FROM; a stage must declare them to see them. Source: BuildKit reference. */
export function platformArgs(target: Platform): readonly (readonly [string, string])[] {
  const of = (prefix: string, platform: Platform): [string, string][] => [
    [`${prefix}PLATFORM`, formatPlatform(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ""],
  ];
  return [...of("TARGET", target), ...of("BUILD", hostPlatform())];
}

const PROXY_ARGS = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"].flatMap((n) => [
  n,
  n.toLowerCase(),
]);

/**
 * Proxy settings for RUN: from `--build-arg`, else from cooper's own environment (as podman does). They are part of
 * neither history, config nor cache key.
 */
export function proxyEnv(
  buildArgs: ReadonlyMap<string, string>,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of PROXY_ARGS) {
    const value = buildArgs.get(name) ?? environment[name];
    if (value !== undefined && value !== "") found[name] = value;
  }
  return found;
}
