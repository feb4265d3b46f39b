import { expect, test } from "vitest";
import { parse, sourceText } from "../../src/parser/index.js";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const words = async (text: string): Promise<readonly string[]> =>
  (await parse(sourceText("Containerfile", bytes(text)))).instructions.map((instruction) => instruction.text);

test("P09: a byte order mark and CRLF change no instruction", async () => {
  const plain = "# escape=`\nFROM a AS b\nRUN c `\n  d\n# e\nENV f=g\n";
  const marked = `\ufeff${plain.replaceAll("\n", "\r\n")}`;
  expect(await words(marked)).toEqual(await words(plain));
});

test("P09: U+2028, U+0085 and no-break spaces are no line ends and no blanks", async () => {
  expect(await words("FROM a\nRUN x\u2028RUN y\u0085RUN z\u00a0# w\n")).toEqual([
    "FROM a",
    "RUN x\u2028RUN y\u0085RUN z\u00a0# w",
  ]);
});

test("P09: a NUL is an error with its place, wherever it stands", async () => {
  for (const text of ["FROM a\nRUN b\0\n", "FROM a\n# b\0", "FROM a\nRUN <<E\n\0\nE\n"]) {
    const line = text.slice(0, text.indexOf("\0")).split("\n").length;
    await expect(parse({ name: "Containerfile", text })).rejects.toMatchObject({
      code: "syntax",
      span: { line },
    });
  }
  const utf16 = Buffer.from("FROM a\n", "utf16le").toString("latin1");
  await expect(parse({ name: "Containerfile", text: utf16 })).rejects.toThrow(
    "1:2: the file holds a NUL character",
  );
});

test("P09: bytes that are no UTF-8 are refused with their place, a real replacement character is kept", () => {
  expect(sourceText("C", bytes("FROM a\ufffd\n")).text).toBe("FROM a\ufffd\n");
  expect(sourceText("C", bytes("\ufeffFROM a\n")).text).toBe("\ufeffFROM a\n");
  const bad = Buffer.concat([bytes("FROM é\ufffd\nRUN \ufffd"), Buffer.from([0xff]), bytes("x\n")]);
  expect(() => sourceText("C", bad)).toThrow("C:2:6: this is not UTF-8");
  expect(() => sourceText("C", Buffer.from([0x46, 0xc3]))).toThrow("C:1:2: this is not UTF-8");
});

test("P09: # syntax is noted and changes nothing", async () => {
  const file = await parse({ name: "Containerfile", text: "# syntax=evil.example/image\nFROM a\n" });
  expect(file.directives).toMatchObject([{ name: "syntax", value: "evil.example/image" }]);
  expect(file.instructions.map(({ kind }) => kind)).toEqual(["FROM"]);
});
