import { describe, expect, test } from "vitest";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { forgeTar } from "../support/tar-forge.js";

describe("L01: names that would leave the root", () => {
  test.each(["../victim/x", "/../victim/x", "a/../../victim/x", "./../x", "..", "a/b/../../../x"])(
    "%s is refused",
    async (name) => {
      const { layer, archive, add, context } = await attack(() => forgeTar([{ name, content: "x" }]));
      expect(refused(layer)).toMatchObject({
        code: "corrupt",
        error: expect.stringContaining("leaves the root") as string,
      });
      for (const door of [archive, add, context]) expect(refused(door)).toMatchObject({ code: "corrupt" });
    },
  );

  test.each([
    ["//x", "x"],
    ["/x", "x"],
    ["./x", "x"],
    [".//./x", "x"],
    ["a/../x", "x"],
  ])("%s stays inside, as %s", async (name, inside) => {
    for (const door of Object.values(await attack(() => forgeTar([{ name, content: "x" }]))))
      expect(accepted(door)).toEqual([inside]);
  });

  test("an absolute name of the host lands inside", async () => {
    let name = "";
    const { layer, archive, add, context } = await attack((host) =>
      forgeTar([{ name: (name = `${host}/secret`), content: "x" }]),
    );
    for (const door of [layer, add, context]) expect(accepted(door).at(-1)).toBe(name.slice(1));
    expect(accepted(archive)).toEqual([name.slice(1)]);
  });
});
