import { resolve } from "node:path";
import type { LintOptions, LintResult } from "../../cooper.js";
import { renderDiagnostic } from "../../source.js";
import type { FlagTable, Flags } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { manyLines, oneLine, terminalJson } from "../text.js";
import type { World } from "../world.js";
import { keyValues } from "./key-values.js";

const FORMATS = ["text", "json", "sarif", "codequality"] as const;

const flags = {
  file: {
    kind: "once",
    short: "f",
    value: "FILE",
    help: "the Containerfile, or - for stdin (default: Containerfile, else Dockerfile)",
  },
  fix: { kind: "boolean", help: "mend what can be mended without changing the image" },
  format: {
    kind: "string",
    value: "FORMAT",
    choices: FORMATS,
    help: `${FORMATS.join(", ")} (default: text)`,
  },
  "build-arg": { kind: "list", value: "K[=V]", help: "set an ARG; without a value, from the environment" },
} as const satisfies FlagTable;

/** What `cooper lint` exits with when there are errors. */
const HAS_ERRORS = 1;

export const lint = command({
  usage: "[options] [CONTEXT]",
  flags,
  operands: { min: 0, max: 1 },
  notes: [
    "Exits with 1 when there are errors, and with 0 when there are only warnings.",
    "With a CONTEXT its ignore file is read, too. Rules are skipped by a first line # check=skip=RULE,RULE.",
  ],
  run: async ({ flags: given, operands }, world) => {
    await using cooper = await world.open();
    const result = await cooper.lint(lintOptions(given, operands, world));
    await write(result, FORMATS.find((format) => format === given.format) ?? "text", world);
    return result.diagnostics.some(({ severity }) => severity === "error") ? HAS_ERRORS : 0;
  },
});

function lintOptions(given: Flags<typeof flags>, [context]: readonly string[], world: World): LintOptions {
  if (given.file === "-" && world.stdin.isTerminal) {
    throw usage("--file -: cannot read a Containerfile from the terminal; redirect stdin");
  }
  return {
    ...(context === undefined ? {} : { contextDir: resolve(world.cwd, context) }),
    ...(given.file === undefined ? {} : { file: given.file }),
    ...(given.fix ? { fix: true } : {}),
    buildArgs: keyValues("--build-arg", given["build-arg"], undefined),
    signal: world.signal,
  };
}

async function write(result: LintResult, format: (typeof FORMATS)[number], world: World): Promise<void> {
  if (format === "text") {
    world.stdout.write(asText(result));
    return;
  }
  const { codeQuality, jsonReport, sarif } = await import("../lint-formats.js");
  const { lintRules } = await import("../../index.js");
  const report =
    format === "sarif"
      ? sarif(result, lintRules, world.version)
      : format === "codequality"
        ? codeQuality(result)
        : jsonReport(result);
  world.stdout.write(`${terminalJson(report, "  ")}\n`);
}

/** Each finding with its excerpt and hint, what was mended, and a line that counts. */
function asText({ source, diagnostics, fixed }: LintResult): string {
  const name = oneLine(source.name);
  const mended = fixed.map(
    ({ code, message, span }) => `${name}:${span.line}: fixed: ${oneLine(message)} [${code}]`,
  );
  const left = diagnostics.map((diagnostic) => {
    const { code, message } = diagnostic;
    return manyLines(renderDiagnostic(source, { ...diagnostic, message: `${oneLine(message)} [${code}]` }));
  });
  const count = (severity: string): number => diagnostics.filter((one) => one.severity === severity).length;
  const fixable = diagnostics.filter(({ fix }) => fix !== undefined).length;
  const summary = [
    ...(fixed.length > 0 ? [`${fixed.length} fixed`] : []),
    number(count("error"), "error"),
    number(count("warning"), "warning"),
    ...(fixable > 0 ? [`--fix can mend ${fixable}`] : []),
  ].join(", ");
  const blocks = [...(mended.length > 0 ? [mended.join("\n")] : []), ...left, `${name}: ${summary}`];
  return `${blocks.join("\n\n")}\n`;
}

function number(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
