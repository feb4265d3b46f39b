import { expect } from "vitest";

/** What these are about is how files and stores bear a disk, which is where those of users lie. */
const ON_DISK = /\/test\/(?:e2e|faults|snapshot|store)\//;

const memory = process.env["COOPER_TEST_MEMORY"];
if (memory !== undefined && !ON_DISK.test(expect.getState().testPath ?? "")) process.env["TMPDIR"] = memory;
