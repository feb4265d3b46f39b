import fc from "fast-check";
import { expect, test } from "vitest";
import type { Containerfile, Flag, Instruction } from "../../src/parser/index.js";
import { expandWord, parse } from "../../src/parser/index.js";
import { findings, fixed, noFacts } from "./facts.js";

const from = fc.constantFrom(
  "FROM scratch AS App",
  "from App as b",
  "FROM scratch As C",
  "FROM --platform=$TARGETPLATFORM scratch AS d",
  "FROM --platform=${TARGETPLATFORM}  APP  as  Two",
  "From c",
);
const body = fc.constantFrom(
  "ENV a b c",
  "env A_KEY $x y",
  'LABEL a "b c" d',
  "ENV a b\\\n c",
  "ENV a b\u0085c",
  "LABEL a=1 \\\n\n\n b=$y \\\n# why\n  \n c=3",
  "EXPOSE 80/TCP 81 82/Udp",
  "expose $p/TCP",
  "COPY --from=APP /a /b",
  "RUN --mount=type=bind,from=App,target=/x \\\n\n true",
  "COPY <<EOF /x\na \\\n\nEOF",
  "ONBUILD ENV a b",
  "Run echo $HOME",
  "cmd echo",
  "WORKDIR a",
  "MAINTAINER x",
  "# APP",
  "",
);
const text = fc
  .tuple(
    fc.array(fc.constantFrom("ARG x=1", "arg y"), { maxLength: 2 }),
    fc.array(fc.tuple(from, fc.array(body, { maxLength: 6 })), { minLength: 1, maxLength: 4 }),
    fc.constantFrom("\n", "\r\n"),
  )
  .map(([args, stages, end]) => [...args, ...stages.flat(2), ""].join("\n").replaceAll("\n", end))
  .filter((one) => !one.startsWith("\n"));

/** What an instruction does, however it is written. */
function meaning(file: Containerfile): unknown {
  const word = (written: string): string =>
    expandWord(written, (name) => `\${${name}}`, { escape: file.escape });
  const flags = (of: readonly Flag[]): readonly string[] =>
    of
      .map(({ name, value = "" }) => `${name}=${name === "platform" ? value : value.toLowerCase()}`)
      .filter((flag) => !/^platform=\$\{?TARGETPLATFORM\}?$/.test(flag));
  const meant = (one: Instruction): unknown => {
    const { kind } = one;
    const shared = {
      kind,
      flags: flags(one.flags),
      heredocs: one.heredocs.map(({ body: content }) => content),
    };
    if (kind === "FROM") {
      return { ...shared, image: one.image.text.toLowerCase(), alias: one.alias?.text.toLowerCase() };
    }
    if (kind === "ENV" || kind === "LABEL") {
      return { ...shared, pairs: one.pairs.map(({ key, value }) => [word(key.text), word(value.text)]) };
    }
    if (kind === "EXPOSE") return { ...shared, words: one.words.map(({ text: port }) => port.toLowerCase()) };
    if (kind === "ONBUILD") return { ...shared, trigger: one.trigger };
    if (kind === "RUN" || kind === "CMD") return { ...shared, command: one.command };
    return shared;
  };
  return file.instructions.map(meant);
}

test("a fixed file means the same, has nothing left to fix, and fixing it again changes nothing", async () => {
  await fc.assert(
    fc.asyncProperty(text, async (written) => {
      const mended = await fixed(written, noFacts);
      const parsed = async (one: string) => parse({ name: "Containerfile", text: one });
      expect(meaning(await parsed(mended))).toEqual(meaning(await parsed(written)));
      expect((await findings(mended, noFacts)).filter(({ fix }) => fix)).toEqual([]);
      expect(await fixed(mended, noFacts)).toBe(mended);
    }),
    { numRuns: 300 },
  );
});

test("findings stand in order, inside the text, on the line and column of their offset", async () => {
  await fc.assert(
    fc.asyncProperty(text, async (written) => {
      let last = 0;
      for (const { span } of await findings(written, noFacts)) {
        expect(span.start).toBeGreaterThanOrEqual(last);
        last = span.start;
        expect(span.end).toBeLessThanOrEqual(written.length);
        const before = written.slice(0, span.start);
        expect(span.line).toBe(before.split("\n").length);
        expect(span.column).toBe(before.length - before.lastIndexOf("\n"));
      }
    }),
    { numRuns: 200 },
  );
});
