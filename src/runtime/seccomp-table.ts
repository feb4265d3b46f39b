/**
 * System calls that a sandboxed process may not make, by architecture, with the capability that opens them (`""`: none
 * does). Everything else up to `last` is allowed: the rest is what moby's default profile lists one by one, written the
 * other way round. Numbers are from the kernel's own headers; some exist on one architecture only.
 */
export interface CallTable {
  /** `AUDIT_ARCH_*` of linux/audit.h. */
  readonly audit: number;
  /** Newer calls than this answer ENOSYS, so that programs fall back to what they used before. */
  readonly last: number;
  readonly clone: number;
  readonly clone3: number;
  readonly socket: number;
  readonly personality: number;
  /** 32-bit x86 only: its arguments lie in memory, where a filter cannot look. */
  readonly socketcall?: number;
  readonly closed: Readonly<Record<string, readonly number[]>>;
}

/** mseal and the *xattrat family are in, open_tree_attr (467) is not. */
const LAST = 466;
/** open_tree to fspick, mount_setattr, quotactl_fd, statmount and listmount have the same numbers everywhere. */
const MOUNTS = [428, 429, 430, 431, 432, 433, 442, 443, 457, 458];

/** uselib ustat sysfs pivot_root _sysctl swapon swapoff create_module … vserver lookup_dcookie epoll_*_old keys numa kexec userfaultfd */
const X64: CallTable = {
  audit: 0xc000003e,
  last: LAST,
  clone: 56,
  clone3: 435,
  socket: 41,
  personality: 135,
  closed: {
    "": [
      134, 136, 139, 155, 156, 167, 168, 174, 177, 178, 180, 181, 182, 183, 184, 185, 212, 214, 215, 236, 246,
      248, 249, 250, 256, 279, 320, 323, 425, 426, 427,
    ],
    CAP_SYS_ADMIN: [165, 166, 170, 171, 179, 272, 298, 300, 308, 321].concat(MOUNTS),
    CAP_SYS_MODULE: [175, 176, 313],
    CAP_SYS_BOOT: [169],
    CAP_SYS_PACCT: [163],
    CAP_SYS_TIME: [164, 227],
    CAP_SYS_RAWIO: [172, 173],
    CAP_SYSLOG: [103],
    CAP_SYS_TTY_CONFIG: [153],
    CAP_SYS_NICE: [237, 238, 239, 450],
    CAP_SYS_PTRACE: [312, 438, 440],
    CAP_DAC_READ_SEARCH: [304],
    CAP_SYS_CHROOT: [161],
  },
};

const ARM64: CallTable = {
  audit: 0xc00000b7,
  last: LAST,
  clone: 220,
  clone3: 435,
  socket: 198,
  personality: 92,
  closed: {
    "": [18, 41, 42, 104, 217, 218, 219, 224, 225, 238, 239, 282, 294, 425, 426, 427],
    CAP_SYS_ADMIN: [39, 40, 60, 97, 161, 162, 241, 262, 268, 280].concat(MOUNTS),
    CAP_SYS_MODULE: [105, 106, 273],
    CAP_SYS_BOOT: [142],
    CAP_SYS_PACCT: [89],
    CAP_SYS_TIME: [112, 170],
    CAP_SYSLOG: [116],
    CAP_SYS_TTY_CONFIG: [58],
    CAP_SYS_NICE: [235, 236, 237, 450],
    CAP_SYS_PTRACE: [272, 438, 440],
    CAP_DAC_READ_SEARCH: [265],
    CAP_SYS_CHROOT: [51],
  },
};

const I386: CallTable = {
  audit: 0x40000003,
  last: LAST,
  clone: 120,
  clone3: 435,
  socket: 359,
  personality: 136,
  socketcall: 102,
  closed: {
    "": [
      62, 86, 87, 113, 115, 127, 130, 134, 135, 137, 149, 166, 167, 169, 188, 189, 217, 253, 273, 283, 286,
      287, 288, 294, 317, 374, 425, 426, 427,
    ],
    CAP_SYS_ADMIN: [21, 22, 52, 74, 121, 131, 310, 336, 338, 346, 357].concat(MOUNTS),
    CAP_SYS_MODULE: [128, 129, 350],
    CAP_SYS_BOOT: [88],
    CAP_SYS_PACCT: [51],
    CAP_SYS_TIME: [25, 79, 264, 404],
    CAP_SYS_RAWIO: [101, 110],
    CAP_SYSLOG: [103],
    CAP_SYS_TTY_CONFIG: [111],
    CAP_SYS_NICE: [274, 275, 276, 450],
    CAP_SYS_PTRACE: [349, 438, 440],
    CAP_DAC_READ_SEARCH: [342],
    CAP_SYS_CHROOT: [61],
  },
};

/** The tables of the calls that this machine's processes can make; programs of any other kind are refused whole. */
export function callTables(arch: string): readonly CallTable[] {
  return arch === "arm64" ? [ARM64] : [X64, I386];
}
