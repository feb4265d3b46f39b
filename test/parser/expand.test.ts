import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ExpandOptions, expandHeredoc, expandWord, expandWords } from "../../src/parser/index.js";

const variables: Readonly<Record<string, string>> = {
  v: "value",
  e: "",
  path: "/usr/local/lib/lib.so.1",
  two: "one two",
  star: "a*b",
  quote: `it's "x" $v \\`,
  wide: "é😀é",
  größe: "10",
  lines: "a\nb\nc",
  dollar: "$1",
};
const lookup = (name: string): string | undefined =>
  Object.hasOwn(variables, name) ? variables[name] : undefined;
const backslash: ExpandOptions = { escape: "\\" };
const word = (text: string): string => expandWord(text, lookup, backslash);

describe("expandWord", () => {
  test.each([
    ["", ""],
    ["plain", "plain"],
    ["he'll'o", "hello"],
    ["he\\'llo", "he'llo"],
    ["abc\\tdef", "abctdef"],
    ['"abc\\tdef"', "abc\\tdef"],
    ['"abc\\\\tdef"', "abc\\tdef"],
    ["'abc\\tdef'", "abc\\tdef"],
    ["hello\\", "hello"],
    ["hello\\\\", "hello\\"],
    [`"hel'lo"`, "hel'lo"],
    ["'hello\\'", "hello\\"],
    [`"''"`, "''"],
    ["$.", "$."],
    ["he$1x", "hex"],
    ["a$$b", "ab"],
    ["he$.x", "he$.x"],
    ["$v", "value"],
    ["${v}x", "valuex"],
    ["$vx", ""],
    ["\\$v", "$v"],
    ['"\\$v"', "$v"],
    ["'\\$v$v'", "\\$v$v"],
    ['"$v"', "value"],
    ["$quote", `it's "x" $v \\`],
    ["$é", ""],
    ["${v:-w}${e:-w}${u:-w}", "valueww"],
    ["${v-w}${e-w}${u-w}", "valuew"],
    ["${v:+w}${e:+w}${u:+w}", "w"],
    ["${v+w}${e+w}${u+w}", "ww"],
    ["${v:?no}${v?no}${e?no}", "valuevalue"],
    ["${u:-${w:-${v}}}", "value"],
    ["${u:-\\$v:}x", "$v:x"],
    ["${u:-\\${v}z}x", "${vz}x"],
    ["${u:-a'}'b\"}\"}", "a}b}"],
    ["${u:-a\\}b}", "a}b"],
    ['"${u:-"a b"}"', "a b"],
    ["${v:+${v}:}x", "value:x"],
    ["${path#*/}", "usr/local/lib/lib.so.1"],
    ["${path##*/}", "lib.so.1"],
    ["${path%/*}", "/usr/local/lib"],
    ["${path%%/*}", ""],
    ["${path%.*}", "/usr/local/lib/lib.so"],
    ["${path%%.*}", "/usr/local/lib/lib"],
    ["${path#nothing}", "/usr/local/lib/lib.so.1"],
    ["${star#a\\*}", "b"],
    ["${star#?}${star%?}", "*ba*"],
    ["${path#/${u:-usr}}", "/local/lib/lib.so.1"],
    ["${path#$u/usr}", "/local/lib/lib.so.1"],
    ["${v#[a-z]}", "value"],
    ["${wide#?}", "😀é"],
    ["${wide%%?é}", "é"],
    ["${v/a/A}", "vAlue"],
    ["${path//lib/L}", "/usr/local/L/L.so.1"],
    ["${path/lib/L}", "/usr/local/L/lib.so.1"],
    ["${path//\\//-}", "-usr-local-lib-lib.so.1"],
    ["${path/l*l/X}", "/usr/Xib.so.1"],
    ["${path//l*l/X}", "/usr/Xib.so.1"],
    ["${v//x/y}${e///y}", "valuey"],
    ["${v///y}", "yvyaylyuyey"],
    ["${v/*/x}${v//?/x}", "xxxxxx"],
    ["${v/a/$v}", "vvaluelue"],
    ["${u/a/b}${u#a}", ""],
    ["${v/#v/X}${v/#a/X}", "Xaluevalue"],
    ["${v/%e/X}${v/%?/X}", "valuXvaluX"],
    ["${path/%lib*/X}${path/#*lib/X}", "/usr/local/XX.so.1"],
    ["${v/#/<}${v/%/>}", "<valuevalue>"],
    ["$größe${größe}x", "1010x"],
    ["${lines%%*}${lines//?/.}", "a\nb\n.\n.\n."],
    ["${lines/a*c/X}${lines##*\\?}", "a\nb\nca\nb\nc"],
  ])("%s becomes %s", (text, expected) => {
    expect(word(text)).toBe(expected);
  });

  test.each([
    ["he'llo", "a single quote is never closed"],
    ['"hello', "a double quote is never closed"],
    ['"hello\\"', "a double quote is never closed"],
    ["${v", '"}" is missing'],
    ["${v:-x", '"}" is missing'],
    ["${v#x", '"}" is missing'],
    ["${v/a/b", '"}" is missing'],
    ["${", "is not followed by a name"],
    ["${}", "is not followed by a name"],
    ["${{v}}", "is not followed by a name"],
    ["${:-x}", "is not followed by a name"],
    ["${v:=x}", "${v:=…} is not supported"],
    ["${v:0:2}", "${v:0…} is not supported"],
    ["${v^^}", "${v^^…} is not supported"],
    ["${#v}", "is not supported"],
    ["${v/a}", '"/" is missing'],
    ["${v//a}", '"/" is missing'],
    ["${v/#a}", '"/" is missing'],
    ["${v/a/b", '"}" is missing'],
    ["${v#\\a}", 'the pattern "\\a" has a backslash before "a"'],
    ["${u%\\a}", 'the pattern "\\a" has a backslash before "a"'],
    ["${v/'\\'/x}", 'the pattern "\\" has a backslash at its end'],
    ["${v:#a}", "${v:#…} is not supported"],
    ["${u:?}", "u: is not set"],
    ["${e:?}", "e: is empty"],
    ["${u?set $v}", "u: set value"],
    ["${e:?'not  now'}", "e: not  now"],
  ])("%s is refused: %s", (text, message) => {
    expect(() => word(text)).toThrow(expect.objectContaining({ name: "CooperError", code: "syntax" }));
    expect(() => word(text)).toThrow(message);
  });

  test("another escape character takes the backslash's place", () => {
    const options: ExpandOptions = { escape: "`" };
    expect(expandWord('c:\\dir`$v\\$v "a`"b\\n"', lookup, options)).toBe('c:\\dir$v\\value a"b\\n');
  });
});

describe("where BuildKit departs from the shell", () => {
  test.each([
    ["quotes protect no wildcard", "${star##a'*'}${star##'*'}", ""],
    ["a replacement keeps its backslashes", "${v/a/\\}}${v/a/\\b}", "v\\}luev\\blue"],
    ["and doubles one in quotes", '${v/a/"\\b"}', "v\\\\blue"],
    ["a brace does not end the pattern of a replacement", "${v/a}/b}", "value"],
    ["no wildcard goes over a line end", "${lines#*c}", "a\nb\nc"],
    ["the second # may come out of a variable", "${path#${u:-#}*/}", "lib.so.1"],
  ])("%s: %s", (_, text, expected) => {
    expect(word(text)).toBe(expected);
  });

  test.each(["${v:-${u?}}", "${u:+${u?}}", "${v+${u:?no}}", "${v-${v/a}}"])(
    "what is not used is evaluated: %s",
    (text) => {
      expect(() => word(text)).toThrow(expect.objectContaining({ code: "syntax" }));
    },
  );
});

/** Words that BuildKit reads otherwise, because a user would lose text, or for what buildah adds to the language. */
const meant: readonly (readonly [why: string, words: RegExp])[] = [
  ["a dollar sign in a replacement is text, and not a group of a regular expression", /^\$\{v\/\/l\/.*\$/],
  ["buildah's ${v/#p/r} and ${v/%p/r}", /^\$\{\w+\/[#%]/],
];

describe("as BuildKit does it", () => {
  interface Answers {
    readonly variables: Readonly<Record<string, string>>;
    readonly words: Readonly<Record<string, string | null>>;
  }
  const { variables: values, words } = JSON.parse(
    readFileSync("fixtures/expand/buildkit.json", "utf8"),
  ) as Answers;
  const ours = (text: string): string | null => {
    try {
      return expandWord(text, (name) => (Object.hasOwn(values, name) ? values[name] : undefined), backslash);
    } catch (error) {
      expect(error).toMatchObject({ name: "CooperError", code: "syntax" });
      return null;
    }
  };

  test("every word of fixtures/expand/buildkit.json that is not meant to differ", () => {
    const same = Object.entries(words).filter(([text]) => !meant.some(([, pattern]) => pattern.test(text)));
    expect(same.length).toBeGreaterThan(1500);
    expect(Object.fromEntries(same.map(([text]) => [text, ours(text)]))).toEqual(Object.fromEntries(same));
  });

  test.each(meant)("except for %s", (_, pattern) => {
    const differ = Object.entries(words).filter(([text]) => pattern.test(text));
    expect(differ.some(([text, expected]) => ours(text) !== expected)).toBe(true);
  });
});

describe("expandWords", () => {
  test.each([
    ["$two", ["one", "two"]],
    ['"$two"', ["one two"]],
    ["a$two'b c'", ["aone", "twob c"]],
    ["$e$u", []],
    ['""', [""]],
    ["${u:-x y} z", ["x", "y", "z"]],
    ['${u:-"x y"}', ["x y"]],
    ["  80\t443  ", ["80", "443"]],
    ["a\\ b", ["a b"]],
  ])("%s becomes %j", (text, expected) => {
    expect(expandWords(text, lookup, backslash)).toEqual(expected);
  });
});

describe("expandHeredoc", () => {
  test.each([
    [`"$v" '$v' "it's`, `"value" 'value' "it's`],
    ['\\$v \\\\ \\n \\" \\`x\\`', '$v \\ n " `x`'],
    ["a\\\nb\n", "a\nb\n"],
    ['${u:-"a"} ${u:-a\\}b}', '"a" a}b'],
    ["end\\", "end"],
  ])("%j becomes %j", (text, expected) => {
    expect(expandHeredoc(text, lookup)).toBe(expected);
  });
});

/** Words whose meaning dash, BuildKit and we share; what they hold is harmless in an assignment of a shell. */
const literal = fc.stringMatching(/^[a-z0-9/.:_-]{0,4}$/);
const name = fc.constantFrom("v", "e", "path", "two", "u");
const pattern = fc
  .array(fc.oneof(literal, fc.constantFrom("*", "?", "'/'", "\\?", "\\*", "/")), { maxLength: 4 })
  .map((parts) => parts.join(""));
const { expansion } = fc.letrec<{ expansion: string; part: string }>((tie) => ({
  part: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    literal,
    fc.constantFrom("\\a", "\\$v", "'$v x'", "' '", '"\\$ \\" \\\\ \\a"', "'\"'"),
    name.map((n) => `\${${n}}`),
    name.map((n) => `"\${${n}} $${n} "`),
    fc
      .tuple(name, fc.constantFrom("-", ":-", "+", ":+"), tie("expansion"))
      .map(([n, op, w]) => `\${${n}${op}${w}}`),
    fc.tuple(name, fc.constantFrom("#", "##", "%", "%%"), pattern).map(([n, op, p]) => `\${${n}${op}${p}}`),
  ),
  expansion: fc.array(tie("part"), { maxLength: 4 }).map((parts) => parts.join("")),
}));

function inDash(script: string): readonly string[] {
  const settings = Object.entries({
    v: variables["v"],
    e: "",
    path: variables["path"],
    two: variables["two"],
  });
  const env = Object.fromEntries(settings.map(([key, value]) => [key, value ?? ""]));
  const out = execFileSync("/bin/dash", ["-f"], { input: script, env, encoding: "utf8" });
  return out.split("\0").slice(0, -1);
}

describe("as dash does it", () => {
  test("one word", () => {
    fc.assert(
      fc.property(fc.array(expansion, { minLength: 20, maxLength: 60 }), (texts) => {
        const script = texts.map((text) => `r=${text}\nprintf '%s\\0' "$r"\n`).join("");
        expect(texts.map(word)).toEqual(inDash(script));
      }),
      { numRuns: 60 },
    );
  });

  test("several words", () => {
    fc.assert(
      fc.property(fc.array(expansion, { minLength: 20, maxLength: 60 }), (texts) => {
        const script = texts.map((text) => `set -- ${text}\nprintf '%s,' $# "$@"; printf '\\0'\n`).join("");
        const ours = texts.map((text) => expandWords(text, lookup, backslash));
        expect(ours.map((words) => [words.length, ...words, ""].join(","))).toEqual(inDash(script));
      }),
      { numRuns: 60 },
    );
  });

  test("required variables", () => {
    for (const text of ["${u?}", "${u:?}", "${e:?}", "${u:?gone $v}", "${v:+${u?}}"]) {
      expect(() => inDash(`exec 2>/dev/null; r=${text}`)).toThrow("Command failed");
      expect(() => word(text)).toThrow(expect.objectContaining({ code: "syntax" }));
    }
    for (const text of ["${v?}", "${e?}", "${v:?x}"]) {
      expect([word(text)]).toEqual(inDash(`r=${text}; printf '%s\\0' "$r"`));
    }
  });

  test("heredoc bodies", () => {
    const body = "a $v \"${u:-x}\" '$v' \\$v \\\\ ${path##*/} $e| $two\n";
    expect([expandHeredoc(body, lookup)]).toEqual(inDash(`cat <<END\n${body}END\nprintf '\\0'\n`));
  });
});
