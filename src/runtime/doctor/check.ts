/** The groups of checks, in the order in which they are told. */
export const GROUPS = [
  "system",
  "namespaces",
  "overlay",
  "cgroups",
  "ids",
  "network",
  "runtimes",
  "emulation",
  "store",
] as const;

/** One thing that was looked at or tried. */
export interface Check {
  readonly name: string;
  readonly group: (typeof GROUPS)[number];
  /** "unknown": it could not be tried, or does not decide anything by itself. */
  readonly ok: boolean | "unknown";
  /** What there is, or the refusal, as one line. */
  readonly found: string;
  /** What was refused, as far as it is known: the system call or program, and the errno's name. */
  readonly call?: string;
  readonly errno?: string;
  /** What to change, in the words of those who can: options of CI systems, switches of the kernel, packages. */
  readonly advice?: string;
}

/** A refusal as data. */
export interface Refused {
  readonly found: string;
  readonly call?: string;
  readonly errno?: string;
}

/** How long one try may take, ms. */
export const PATIENCE_MS = 5000;

const MEANINGS: readonly (readonly [text: RegExp, errno: string])[] = [
  [/Operation not permitted/i, "EPERM"],
  [/Permission denied/i, "EACCES"],
  [/No space left on device/i, "ENOSPC"],
  [/Invalid argument/i, "EINVAL"],
  [/No such file or directory/i, "ENOENT"],
  [/Function not implemented/i, "ENOSYS"],
  [/Read-only file system/i, "EROFS"],
  [/Resource temporarily unavailable/i, "EAGAIN"],
  [/Cannot allocate memory/i, "ENOMEM"],
];

/** The errno and the call that a line of a program or of ours tells. */
export function refusedBy(line: string, call?: string): Refused {
  const errno =
    /\b(E[A-Z0-9]{3,})\b/.exec(line)?.[1] ?? MEANINGS.find(([text]) => text.test(line))?.[1] ?? undefined;
  const named = call ?? callIn(line);
  return {
    found: line,
    ...(named === undefined ? {} : { call: named }),
    ...(errno === undefined ? {} : { errno }),
  };
}

/** `cannot mount /proc: mount /proc: operation not permitted (EPERM)`, `unshare: unshare failed: …`, `spawn setpriv ENOENT`. */
function callIn(line: string): string | undefined {
  return (
    /\bspawn (\S+) E[A-Z]+/.exec(line)?.[1] ??
    /\b(\w+) failed: /.exec(line)?.[1] ??
    /: ([a-z][a-z_0-9]*)(?: [^:]*)?: [^:]*\(E[A-Z0-9]+\)$/.exec(line)?.[1]
  );
}
