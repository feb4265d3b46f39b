import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { ioError } from "../../errors.js";
import { renderDiagnostic } from "../../source.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { manyLines, terminalJson } from "../text.js";

const flags = {
  json: { kind: "boolean", help: "print the AST and the diagnostics as JSON" },
} as const satisfies FlagTable;

export const parse = command({
  usage: "[--json] FILE|-",
  flags,
  operands: { min: 1, max: 1 },
  run: async ({ flags: given, operands: [path = ""] }, world) => {
    const name = path === "-" ? "stdin" : path;
    const content = path === "-" ? await world.stdin.readAll(world.signal) : read(resolve(world.cwd, path));
    const { parse: parseText } = await import("../../index.js");
    const { file, diagnostics } = await parseText(content, { name });
    if (given.json) world.stdout.write(`${terminalJson({ file, diagnostics })}\n`);
    else {
      const rows = file.instructions.map(({ kind, span, text: shown }) => {
        return `${String(span.line).padStart(5)}  ${kind.padEnd(11)}  ${shown.split("\n")[0] ?? ""}`;
      });
      world.stdout.write(rows.map((row) => `${manyLines(row)}\n`).join(""));
    }
    const source = { name, text: typeof content === "string" ? content : content.toString() };
    const errors = diagnostics.filter(({ severity }) => severity === "error");
    world.stderr.write(errors.map((error) => `${manyLines(renderDiagnostic(source, error))}\n`).join(""));
    return errors.length > 0 ? 1 : 0;
  },
});

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw ioError("read", path, error);
  }
}
