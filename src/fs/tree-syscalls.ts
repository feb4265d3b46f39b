/** The system calls on trees that Node lacks; runtime/syscalls.ts has them. Paths are byte strings (latin1). All throw errors with an errno `code`. */
export interface TreeSyscalls {
  /** Without following links; only names and values of this one object. Empty map when there are none or the file system has none. */
  xattrs(path: string): ReadonlyMap<string, Buffer>;
  setXattr(path: string, name: string, value: Buffer): void;
  makeNode(
    path: string,
    type: "char" | "block" | "fifo" | "socket",
    mode: number,
    device: { readonly major: number; readonly minor: number },
  ): void;
  /** Sets atime and mtime exactly, without following links. */
  setTime(path: string, mtimeNs: bigint): void;
}
