import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/scratch.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Of three, two are busy: many a test waits, for disks, other programs and the end of processes.
    maxWorkers: 3,
    restoreMocks: true,
  },
});
