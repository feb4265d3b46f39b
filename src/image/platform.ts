import { CooperError } from "../errors.js";

/** Source: OCI image-spec image-index.md, `platform`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const ARCHITECTURES: Readonly<Record<string, Platform>> = {
  x64: { os: "linux", architecture: "amd64" },
  arm64: { os: "linux", architecture: "arm64" },
  arm: { os: "linux", architecture: "arm", variant: "v7" },
  ia32: { os: "linux", architecture: "386" },
  ppc64: { os: "linux", architecture: "ppc64le" },
  riscv64: { os: "linux", architecture: "riscv64" },
  s390x: { os: "linux", architecture: "s390x" },
  loong64: { os: "linux", architecture: "loong64" },
};

/** The platform this process runs on. */
export function hostPlatform(): Platform {
  return ARCHITECTURES[process.arch] ?? { os: "linux", architecture: process.arch };
}

/** `os/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join("/");
}

/** Whether an image made for `offered` serves one who wants `wanted`; a variant that only one side names does not matter. */
export function platformMatches(wanted: Platform, offered: Platform): boolean {
  return (
    wanted.os === offered.os &&
    wanted.architecture === offered.architecture &&
    (wanted.variant === undefined || offered.variant === undefined || wanted.variant === offered.variant)
  );
}

const OPERATING_SYSTEMS = [
  "linux",
  "windows",
  "darwin",
  "freebsd",
  "netbsd",
  "openbsd",
  "solaris",
  "illumos",
  "aix",
];

const KNOWN_ARCHITECTURES: readonly string[] =
  "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split(" ");

/** Other spellings of an architecture, `arch/variant`. */
const ARCHITECTURE_NAMES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  i386: "386",
  aarch64: "arm64",
  armhf: "arm/v7",
  armel: "arm/v6",
};

/** Variants that say what an architecture means without them. */
const PLAIN_VARIANTS: readonly string[] = ["arm64/v8", "amd64/v1"];

/**
 * Reads `os/architecture[/variant]`, or one of the first two alone (the other is this process's), in any usual spelling:
 * `linux/x86_64`, `arm64`, `linux/arm64/v8`. Equal platforms give equal records. Throws `usage`.
 * Source: containerd, package platforms, "Specifiers".
 */
export function parsePlatform(text: string): Platform {
  const invalid = (why: string): CooperError =>
    new CooperError("usage", `"${text.slice(0, 100)}" is not a platform: ${why}`, {
      hint: "write os/architecture, such as linux/amd64 or linux/arm64",
    });
  if (text.includes(",")) throw invalid("it must be a single one");
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || !parts.every((part) => /^[a-z0-9_.-]+$/.test(part))) {
    throw invalid("its parts hold letters, digits, _ . and -");
  }
  const [first = "", second, third] = parts;
  if (second !== undefined) return normalized(systemOf(first), second, third);
  if (OPERATING_SYSTEMS.includes(systemOf(first))) {
    return { ...hostPlatform(), os: systemOf(first) };
  }
  const [architecture = ""] = (ARCHITECTURE_NAMES[first] ?? first).split("/");
  if (!KNOWN_ARCHITECTURES.includes(architecture)) throw invalid("neither a system nor an architecture");
  return normalized(hostPlatform().os, first, undefined);
}

function systemOf(name: string): string {
  return name === "macos" ? "darwin" : name;
}

function normalized(os: string, name: string, givenVariant: string | undefined): Platform {
  const [architecture = "", implied] = (ARCHITECTURE_NAMES[name] ?? name).split("/");
  const bare = givenVariant ?? implied ?? (architecture === "arm" ? "v7" : undefined);
  const variant = bare !== undefined && /^\d/.test(bare) ? `v${bare}` : bare;
  const isPlain = variant === undefined || PLAIN_VARIANTS.includes(`${architecture}/${variant}`);
  return isPlain ? { os, architecture } : { os, architecture, variant };
}
