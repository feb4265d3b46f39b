import { once } from "node:events";
import { read, write } from "node:fs";
import { promisify } from "node:util";
import { close, syscall } from "./syscalls.js";
import { keepTerminal } from "./terminal-keeper.js";

/** The size of cooper's terminal, or 80 by 24 when it has none. */
export function terminalSize(): { readonly rows: number; readonly columns: number } {
  const { rows, columns } = process.stdout;
  return { rows: rows > 0 ? rows : 24, columns: columns > 0 ? columns : 80 };
}

/** A process's terminal joined to cooper's own. */
export interface JoinedTerminal {
  /** Resolves when the process's side has closed and all it wrote is written. */
  readonly ended: Promise<void>;
  /** Gives cooper's terminal back as it was. */
  leave(): void;
}

/**
 * Joins the master end of a pseudo-terminal to stdin and stdout: keys go through raw, so that Ctrl-C is the process's to
 * handle, and the size follows. Takes ownership of the descriptor, which must be a blocking one: libuv's streams lose what
 * is still buffered when the other end hangs up, plain reads on its thread pool do not.
 */
export function joinTerminal(master: number): JoinedTerminal {
  const { stdin, stdout } = process;
  const { isatty } = process.getBuiltinModule("node:tty");
  const raw = isatty(0) && typeof stdin.setRawMode === "function";
  const wasRaw = raw && stdin.isRaw;
  const keeper = raw ? keepTerminal() : undefined;
  if (raw) stdin.setRawMode(true);
  keeper?.changed();
  let typing: Promise<void> = Promise.resolve();
  const type = (keys: Uint8Array): void => {
    // Whoever no longer reads his keys has ended, or will.
    typing = typing.then(() => writeAll(master, keys)).catch(() => undefined);
  };
  const onEnd = (): void => type(Buffer.from("\x04")); // end of input becomes the key that means it
  const onResize = (): void => resize(master);
  stdin.on("data", type).on("end", onEnd);
  stdout.on("resize", onResize);
  const ended = copyOut(master);
  return {
    ended,
    leave: () => {
      stdin.off("data", type).off("end", onEnd).pause();
      stdout.off("resize", onResize);
      if (raw) stdin.setRawMode(wasRaw);
      keeper?.dismiss();
      // Not before the last read has returned: the number could be somebody else's by then.
      void ended.finally(() => close(master));
    },
  };
}

/** Ends when all writers have closed: a master answers EIO then. */
async function copyOut(master: number): Promise<void> {
  const { stdout } = process;
  for (;;) {
    const buffer = Buffer.alloc(65536);
    const bytesRead = await readSome(master, buffer, 0, buffer.length, null).then(
      (result) => result.bytesRead,
      () => 0,
    );
    if (bytesRead === 0) return;
    if (!stdout.write(buffer.subarray(0, bytesRead))) await once(stdout, "drain");
  }
}

const readSome = promisify(read);
const writeSome = promisify(write);

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await writeSome(fd, bytes, at, bytes.length - at)).bytesWritten;
}

function resize(master: number): void {
  const { rows, columns } = terminalSize();
  const size = Buffer.alloc(8);
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  syscall("ioctl", undefined, master, 0x5414 /* TIOCSWINSZ */, size);
}
