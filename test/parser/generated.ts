import fc from "fast-check";
import type {
  Command,
  Containerfile,
  Flag,
  Heredoc,
  Instruction,
  PairsInstruction,
  Word,
} from "../../src/parser/index.js";
import type { Span } from "../../src/source.js";

const nowhere: Span = { start: 0, end: 0, line: 1, column: 1, endLine: 1 };

/** A span whose only meaning is its order among others. */
const at = (start: number): Span => ({ ...nowhere, start, end: start + 1 });
const word = (text: string): Word => ({ text, span: nowhere });

const plainText = fc.stringMatching(/^[a-z0-9/.:_@*-]{1,8}$/).filter((text) => !text.startsWith("--"));
const anyText = fc.string({ unit: "grapheme-ascii", maxLength: 12 }).filter((text) => !/[\n\0]/.test(text));
const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,5}$/);
const quotedText = fc
  .array(fc.constantFrom("a", "'b c'", '"d \\" e"', "\\ x", "\\'", "$x", "${y:-'z w'}", "=", "#", "é"), {
    maxLength: 4,
  })
  .map((parts) => parts.join(""));
const comments = fc.array(fc.constantFrom("why", "", "# two", "escape=`", "a \\"), { maxLength: 2 });

const flag = (names: readonly string[]): fc.Arbitrary<Flag> =>
  fc.record({ name: fc.constantFrom(...names), value: anyText, span: fc.constant(nowhere) });
const flags = (kind: string): fc.Arbitrary<readonly Flag[]> => {
  if (kind === "RUN") return fc.array(flag(["mount"]), { maxLength: 3 });
  if (kind === "COPY") return fc.uniqueArray(flag(["from", "chown"]), { selector: (f) => f.name });
  if (kind === "FROM") return fc.array(flag(["platform"]), { maxLength: 1 });
  return fc.constant([]);
};

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.array(anyText, { minLength: 1, maxLength: 3 }).map((argv) => ({ form: "exec" as const, argv })),
  fc
    .array(fc.constantFrom("echo", "#", "--x", "[", '["a"', "\\\\", "é", "'a  b'", "&&", "$x"), {
      minLength: 1,
      maxLength: 5,
    })
    .map((parts) => ({ form: "shell" as const, text: parts.join(" ") })),
);

const heredocNamed = (...names: readonly string[]): fc.Arbitrary<Heredoc> =>
  fc
    .record({
      name: fc.constantFrom(...names),
      lines: fc.array(fc.constantFrom("x", "", " EOF", "# y", "RUN z \\"), { maxLength: 3 }),
      quoted: fc.boolean(),
      chomp: fc.boolean(),
    })
    .map(({ name: delimiter, lines, quoted, chomp }) => {
      const shown = quoted || delimiter.includes(" ") ? `'${delimiter}'` : delimiter;
      return {
        name: delimiter,
        body: lines.map((line) => `${line}\n`).join(""),
        expand: !shown.startsWith("'"),
        chomp,
        opener: `<<${chomp ? "-" : ""}${shown}`,
        span: nowhere,
      };
    });
const heredoc = heredocNamed("EOF", "a.txt", "E F");

type Fields<T extends Instruction = Instruction> = T extends Instruction
  ? Omit<T, "span" | "text" | "flags" | "comments" | "heredocs"> & { readonly heredocs?: readonly Heredoc[] }
  : never;

const copy: fc.Arbitrary<Fields> = fc.oneof(
  fc
    .record({ texts: fc.array(anyText.filter(Boolean), { minLength: 2, maxLength: 4 }) })
    .map(({ texts }) => words("COPY", texts, true)),
  fc
    .record({ texts: fc.array(plainText, { minLength: 2, maxLength: 4 }) })
    .map(({ texts }) => words("ADD", texts, false)),
  fc.array(heredocNamed("EOF", "a.txt"), { minLength: 1, maxLength: 2 }).map((heredocs) => ({
    kind: "COPY" as const,
    sources: [word("src")],
    destination: word("/x/"),
    json: false,
    heredocs,
  })),
);

function words(kind: "COPY" | "ADD", texts: readonly string[], json: boolean): Fields {
  const sources = texts.slice(0, -1).map(word);
  return { kind, sources, destination: word(texts.at(-1) ?? ""), json };
}

const pairs: fc.Arbitrary<Fields<PairsInstruction>> = fc.oneof(
  fc
    .record({
      kind: fc.constantFrom("ENV" as const, "LABEL" as const),
      pairs: fc.array(fc.tuple(name, quotedText), { minLength: 1, maxLength: 3 }),
    })
    .map(({ kind, pairs: all }) => ({
      kind,
      legacy: false,
      pairs: all.map(([key, value]) => ({ key: word(key), value: word(value) })),
    })),
  fc.tuple(name, plainText).map(([key, value]) => ({
    kind: "ENV" as const,
    legacy: true,
    pairs: [{ key: word(key), value: word(`${value} 'and  more'`) }],
  })),
);

const other: fc.Arbitrary<Fields> = fc.oneof(
  command.map((found) => ({ kind: "RUN" as const, command: found })),
  fc.tuple(fc.constantFrom("CMD" as const, "ENTRYPOINT" as const), command).map(([kind, found]) => ({
    kind,
    command: found,
  })),
  heredoc.map((found) => ({
    kind: "RUN" as const,
    command: { form: "shell" as const, text: `cat ${found.opener} | wc` },
    heredocs: [found],
  })),
  copy,
  pairs,
  fc.array(fc.tuple(name, fc.option(quotedText)), { minLength: 1, maxLength: 3 }).map((all) => ({
    kind: "ARG" as const,
    args: all.map(([key, value]) =>
      value === null ? { name: key, span: nowhere } : { name: key, default: word(value), span: nowhere },
    ),
  })),
  fc
    .tuple(
      fc.constantFrom("WORKDIR" as const, "USER" as const, "STOPSIGNAL" as const, "MAINTAINER" as const),
      plainText,
    )
    .map(([kind, text]) => ({ kind, value: word(text) })),
  fc
    .array(plainText, { minLength: 1, maxLength: 3 })
    .map((all) => ({ kind: "EXPOSE" as const, words: all.map(word), json: false })),
  fc
    .array(anyText.filter(Boolean), { minLength: 1, maxLength: 3 })
    .map((all) => ({ kind: "VOLUME" as const, words: all.map(word), json: true })),
  fc.array(anyText, { minLength: 1, maxLength: 3 }).map((argv) => ({ kind: "SHELL" as const, argv })),
  fc
    .option(command)
    .map((found) =>
      found ? { kind: "HEALTHCHECK" as const, command: found } : { kind: "HEALTHCHECK" as const },
    ),
);

function complete(found: Fields, own: readonly Flag[], above: readonly string[]): Instruction {
  return { span: nowhere, text: "", flags: own, comments: above, heredocs: [], ...found };
}

const instruction: fc.Arbitrary<Instruction> = fc
  .tuple(other, comments, fc.boolean())
  .chain(([found, above, asTrigger]) =>
    flags(found.kind).map((own) => {
      if (!asTrigger || found.kind === "MAINTAINER") return complete(found, own, above);
      const inner = complete(found, own, []);
      return complete({ kind: "ONBUILD", trigger: "", instruction: inner }, [], above);
    }),
  );

const from: fc.Arbitrary<Instruction> = fc
  .tuple(plainText, fc.option(fc.constantFrom("base", "b.1-x")), flags("FROM"), comments)
  .map(([image, alias, own, above]) => {
    const named = alias === null ? {} : { alias: word(alias) };
    return complete({ kind: "FROM", image: word(image), ...named }, own, above);
  });

/** ASTs whose instructions have an empty `text`: they can only be printed from their fields. */
export const containerfile: fc.Arbitrary<Containerfile> = fc
  .record({
    escape: fc.constantFrom("\\" as const),
    first: from,
    rest: fc.array(fc.oneof({ weight: 6, arbitrary: instruction }, { weight: 1, arbitrary: from }), {
      maxLength: 6,
    }),
    apart: fc.array(fc.constantFrom("apart", "syntax=x"), { maxLength: 2 }),
    directives: fc.subarray(["syntax", "check"]),
  })
  .map(({ escape, first, rest, apart, directives }) => {
    const placed = [first, ...rest].map((found, index) => ({ ...found, span: at(10 * index + 10) }));
    const above = placed.flatMap((found) =>
      found.comments.map((text) => ({ text, span: at(found.span.start - 1) })),
    );
    return {
      escape,
      directives: directives.map((key) => ({ name: key, value: "skip=all", span: nowhere })),
      comments: [...apart.map((text) => ({ text, span: nowhere })), ...above],
      instructions: placed,
      warnings: [],
    };
  });
