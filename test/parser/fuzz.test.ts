import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { expandHeredoc, expandWord, expandWords, parse } from "../../src/parser/index.js";

const textsOf = (dir: string): readonly string[] =>
  readdirSync(dir).map((name) => readFileSync(`${dir}/${name}/Containerfile`, "utf8"));
const anyText = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...textsOf("fixtures/containerfiles")) },
  { weight: 1, arbitrary: fc.constantFrom(...textsOf("fixtures/containerfiles-invalid")) },
);
const pieces = [
  "\n",
  "\r\n",
  " \\\n",
  "`\n",
  " ",
  "\t",
  "\0",
  "\ufeff",
  "'",
  '"',
  "\\",
  "`",
  "$",
  "${",
  "}",
  "=",
  "#",
  "--",
  "--a=",
  "[",
  "]",
  '["',
  '",',
  "{",
  "1",
  "<<",
  "<<-",
  "<<E\n",
  "\nE\n",
  "FROM ",
  "RUN ",
  "ONBUILD ",
  "COPY ",
  "ENV ",
  "ARG ",
  "# escape=`\n",
  "HEALTHCHECK CMD ",
  "SHELL ",
  "😀",
  "\ud800",
  "\u2028",
  "\u0085",
  "${a:-",
  "${a#*",
  "${a//b/",
];

const mutation = fc.record({ at: fc.nat(400), remove: fc.nat(12), insert: fc.constantFrom("", ...pieces) });
const mutated = fc
  .tuple(anyText, fc.array(mutation, { minLength: 1, maxLength: 4 }))
  .map(([text, mutations]) =>
    mutations.reduce((result, { at, remove, insert }) => {
      const start = result.length === 0 ? 0 : at % (result.length + 1);
      return result.slice(0, start) + insert + result.slice(start + remove);
    }, text),
  );

test("a mutated file is parsed, or refused with findings that have places in it", async () => {
  const seen = { parsed: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(mutated, async (text) => {
      try {
        const file = await parse({ name: "Containerfile", text });
        expect(JSON.parse(JSON.stringify(file))).toStrictEqual(file);
        for (const { span } of file.instructions) {
          expect(span.start).toBeLessThan(span.end);
          expect(text.slice(span.start, span.end)).toBe(
            text.slice(span.start, span.end).replace(/^[ \t\v\f\r\n]+/, ""),
          );
        }
        seen.parsed++;
      } catch (error) {
        expect(error).toMatchObject({ name: "CooperError", code: "syntax" });
        expect(error).toHaveProperty("where", expect.stringMatching(/^Containerfile:\d+:\d+$/));
        seen.refused++;
      }
    }),
    { numRuns: 3000 },
  );
  expect(Math.min(seen.parsed, seen.refused)).toBeGreaterThan(300);
});

test("any text at all", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...pieces, "a", "b "), { maxLength: 40 }), async (parts) => {
      const text = `FROM a\n${parts.join("")}`;
      const outcome = await parse({ name: "Containerfile", text }).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ name: "CooperError", code: "syntax" });
      else expect(outcome).toHaveProperty("instructions.0.kind", "FROM");
    }),
    { numRuns: 3000 },
  );
});

test("any word is expanded, or refused", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...pieces, "a", "b ", ":", "/", "*", "?"), { maxLength: 30 }),
      (parts) => {
        for (const expand of [expandWord, expandWords, expandHeredoc]) {
          try {
            expect(
              expand(parts.join(""), (name) => (name === "a" ? "abc" : undefined), { escape: "\\" }),
            ).toBeDefined();
          } catch (error) {
            expect(error).toMatchObject({ name: "CooperError", code: "syntax" });
          }
        }
      },
    ),
    { numRuns: 5000 },
  );
});
