import { readSync, writeSync } from "node:fs";
import { CONTROL } from "./helper-plan.js";
import type { HelperMessage, HelperRequest } from "./helper-plan.js";
import { cString, syscall } from "./syscalls.js";

/** Tells the driver. */
export function send(message: HelperMessage): void {
  writeSync(CONTROL, `${JSON.stringify(message)}\n`);
}

/** The next frame; undefined when the driver has gone. */
export function receive(): HelperRequest | undefined {
  const header = Buffer.alloc(4);
  if (!fill(header)) return undefined;
  const body = Buffer.alloc(header.readUInt32LE(0));
  return fill(body) ? (JSON.parse(body.toString("utf8")) as HelperRequest) : undefined;
}

function fill(buffer: Buffer): boolean {
  for (let at = 0; at < buffer.length;) {
    const count = readSync(CONTROL, buffer, at, buffer.length - at, null);
    if (count === 0) return false;
    at += count;
  }
  return true;
}

/** The raw bytes that follow a frame, as a nameless file in memory positioned at its start. */
export function receiveBytes(length: number): number {
  const bytes = Buffer.alloc(length);
  if (!fill(bytes)) throw new Error("the driver has gone");
  const fd = syscall("memfd_create", undefined, cString("stdin"), 1);
  for (let at = 0; at < length;) at += writeSync(fd, bytes, at, length - at, at);
  return fd;
}
