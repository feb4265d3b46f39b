import type { Instruction } from "../parser/index.js";
import type { Span } from "../source.js";

/** `--label` values as the LABEL instruction that they stand for, quoted so that nothing in them is expanded. */
export function labelInstruction(
  labels: Readonly<Record<string, string>>,
  span: Span,
): Instruction | undefined {
  const entries = Object.entries(labels);
  if (entries.length === 0) return undefined;
  const quoted = (text: string) => ({ text: `'${text.replaceAll("'", `'"'"'`)}'`, span });
  const pairs = entries.map(([key, value]) => ({ key: quoted(key), value: quoted(value) }));
  const text = `LABEL ${entries.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(" ")}`;
  return { kind: "LABEL", pairs, legacy: false, text, span, flags: [], comments: [], heredocs: [] };
}

/** The COPY that FROM a directory stands for. */
export function copyOfContext({ name, span }: { readonly name: string; readonly span: Span }): Instruction {
  const root = { text: "/", span };
  const flags = [{ name: "from", value: name, span }];
  const text = `COPY --from=${name} / /`;
  const base = { text, span, flags, comments: [], heredocs: [] };
  return { kind: "COPY", ...base, json: false, sources: [root], destination: root };
}
