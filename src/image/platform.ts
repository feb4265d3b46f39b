/** Source: OCI image-spec image-index.md, `platform`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const ARCHITECTURES: Readonly<Record<string, Platform>> = {
  x64: { os: "linux", architecture: "amd64" },
  arm64: { os: "linux", architecture: "arm64", variant: "v8" },
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
