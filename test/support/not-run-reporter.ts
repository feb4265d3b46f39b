import type { Reporter, TestModule } from "vitest/node";

/** Names every test that was skipped, after the tests and before vitest's own counts. scripts/test.sh asks for it. */
export class NotRunReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) =>
      [...module.children.allTests("skipped")].map((test) => {
        const result = test.result();
        const note = result.state === "skipped" && result.note !== undefined ? `: ${result.note}` : "";
        return `${module.relativeModuleId} > ${test.fullName}${note}`;
      }),
    );
    if (skipped.length === 0) return;
    process.stderr.write(`\nNOT RUN, ${skipped.length}:\n${skipped.map((name) => `  ${name}\n`).join("")}`);
  }
}

// vitest takes a reporter from a file's default export only.
// oxlint-disable-next-line import/no-default-export
export default NotRunReporter;
