import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { verified, verifyBytes } from "../../src/fs/index.js";
import { digestOf } from "../../src/image/index.js";

const bytes = Buffer.from("0123456789");
const expected = { digest: digestOf(bytes), size: bytes.length };

async function drain(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe("verified", () => {
  test("passes on what is right", async () => {
    expect(
      await drain(verified(Readable.from([bytes.subarray(0, 3), bytes.subarray(3)]), expected, "it")),
    ).toBe("0123456789");
    const nothing = { digest: digestOf(""), size: 0 };
    expect(await drain(verified(Readable.from([]), nothing, "it"))).toBe("");
  });

  test.each([
    ["too short", "012345678", "it has 9 of 10 bytes"],
    ["other bytes", "012345678X", "it has the digest sha256:"],
    ["nothing", "", "it has 0 of 10 bytes"],
  ])("fails at the end: %s", async (_what, sent, message) => {
    const stream = verified(Readable.from([Buffer.from(sent)]), expected, "it", "try again");
    await expect(drain(stream)).rejects.toMatchObject({
      code: "corrupt",
      message: expect.stringContaining(message),
      hint: "try again",
    });
  });

  test("ends an endless source at the first byte too many, and passes none of it on", async () => {
    let asked = 0;
    const endless = new Readable({
      highWaterMark: 1,
      read() {
        asked += 1;
        this.push(asked === 1 ? bytes : "x");
      },
    });
    const seen: string[] = [];
    const stream = verified(endless, expected, "it").on("data", (chunk: Buffer) =>
      seen.push(chunk.toString()),
    );
    const error = await new Promise<Error>((resolve) => stream.once("error", resolve));
    expect(error).toMatchObject({ code: "corrupt", message: "it is larger than 10 bytes" });
    expect(seen.join("")).toBe("0123456789");
    expect(endless.destroyed).toBe(true);
    expect(asked).toBeLessThan(30);
  });

  test("takes over errors, and ends its source when it is ended", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-verified-"));
    await expect(
      drain(verified(createReadStream(join(dir, "missing")), expected, "it")),
    ).rejects.toMatchObject({ code: "ENOENT" });
    writeFileSync(join(dir, "file"), bytes);
    const source = createReadStream(join(dir, "file"));
    const stream = verified(source, expected, "it");
    stream.destroy();
    await new Promise<void>((resolve) => source.once("close", () => resolve()));
    expect(source.destroyed).toBe(true);
    rmSync(dir, { recursive: true });
  });

  test("verifyBytes does the same in memory", () => {
    expect(() => verifyBytes(bytes, expected, "it")).not.toThrow();
    for (const wrong of ["", "0123456789X", "012345678X"]) {
      expect(() => verifyBytes(Buffer.from(wrong), expected, "it")).toThrow(
        expect.objectContaining({ code: "corrupt" }),
      );
    }
  });
});
