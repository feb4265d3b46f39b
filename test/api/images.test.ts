import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

describe("stored images", () => {
  test("list, tag, inspect, history and remove tell one story", async () => {
    await using lab = await openLab();
    lab.write({ a: "some text" });
    const { result } = await lab.build("FROM scratch\nCOPY a /a\nENV A=1\n", {
      tags: ["one", "registry.example.com/two:v1"],
    });
    const [image, ...others] = await lab.cooper.images();
    expect(others).toEqual([]);
    expect(image).toMatchObject({
      id: result.imageId,
      names: ["localhost/one:latest", "registry.example.com/two:v1"],
      intermediate: false,
    });
    expect((await lab.cooper.images({ all: true })).length).toBe(2);

    await lab.cooper.tag("one", ["three:x"]);
    expect((await lab.cooper.inspect("localhost/three:x")).id).toBe(result.imageId);
    expect((await lab.cooper.inspect(result.imageId.slice(7, 19))).names).toContain("localhost/three:x");
    await expect(lab.cooper.tag("one", ["UPPER"])).rejects.toMatchObject({ code: "invalid-name" });
    await expect(lab.cooper.inspect("nothing-here")).rejects.toMatchObject({ code: "not-found" });

    const history = await lab.cooper.history("one");
    expect(history.map((row) => [row.createdBy, row.size > 0])).toEqual([
      ["ENV A=1", false],
      ["COPY a /a", true],
    ]);
    expect(history.every((row) => row.id !== undefined)).toBe(true);

    expect((await lab.cooper.remove(["three:x"])).untagged).toEqual(["localhost/three:x"]);
    const removed = await lab.cooper.remove(["one", "registry.example.com/two:v1"]);
    expect(removed.deleted).toContain(result.imageId);
    expect(await lab.cooper.images({ all: true })).toEqual([]);
  });

  test("run enters any step's image with the options of the command", async () => {
    await using lab = await openLab();
    lab.write({ "vol/file": "from the host" });
    const { result, events } = await lab.build(
      `${BUSYBOX_BASE}ENV A=image\nWORKDIR /w\nENTRYPOINT ["/bin/sh", "-c"]\nCMD ["echo default $A"]\n`,
    );
    const run = async (...args: Parameters<typeof lab.cooper.run>): Promise<string> => {
      const chunks: Uint8Array[] = [];
      const code = await lab.cooper.run(args[0], {
        ...args[1],
        onOutput: (_stream, chunk) => chunks.push(chunk),
      });
      return `${Buffer.concat(chunks).toString()}${code}`;
    };
    expect(await run(result.imageId)).toBe("default image\n0");
    expect(
      await run(result.imageId, {
        command: ["echo $A $(pwd) $(id -u); exit 3"],
        env: { A: "given" },
        workdir: "/x",
        user: "7",
      }),
    ).toBe("given /x 7\n3");
    expect(
      await run(result.imageId, {
        entrypoint: ["/bin/cat"],
        command: ["/v/file"],
        volumes: [`${lab.context}/vol:/v:ro`],
      }),
    ).toBe("from the host0");
    expect(
      await run(result.imageId, {
        command: ["touch /v/x 2>/dev/null"],
        volumes: [`${lab.context}/vol:/v:ro`],
      }),
    ).toBe("1");
    expect(await run(result.imageId, { command: ["sh -c 'kill -9 $$'; exit $?"] })).toBe("Killed\n137");
    const step = events.find((event) => event.type === "step-end");
    expect(step?.type).toBe("step-end");
    await expect(lab.cooper.run(result.imageId, { volumes: ["/nowhere-at-all:/x"] })).rejects.toMatchObject({
      code: "not-found",
    });
    await expect(lab.cooper.run("scratchless")).rejects.toThrow();
  });
});
