import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { expect, test } from "vitest";
import { killed, said, start } from "../../src/runtime/attendants.js";

const PIPES = ["ignore", "pipe", "pipe"] as const;

test("a program that was ready in time is, however late we come to hear it", async () => {
  const child = start(["sh", "-c", "echo ready; exec sleep 60"], PIPES);
  try {
    const hearing = said(child, child.stdout as Readable, "it", 1);
    while (!readFileSync(`/proc/${child.pid ?? 0}/cmdline`, "latin1").startsWith("sleep"));
    await hearing;
  } finally {
    await killed(child);
  }
});

test("a program that says nothing is given up", async () => {
  const child = start(["sleep", "60"], PIPES);
  try {
    await expect(said(child, child.stdout as Readable, "it", 1)).rejects.toThrow("it does not become ready");
  } finally {
    await killed(child);
  }
});
