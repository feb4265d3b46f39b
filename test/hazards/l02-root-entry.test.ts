import { describe, expect, test } from "vitest";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { forgeTar } from "../support/tar-forge.js";

describe("L02: the root stays a directory", () => {
  test.each(["/", ".", "./", "././/", "a/.."])(
    "%s as a link, a file or a device is refused",
    async (name) => {
      for (const type of ["2", "1", "3", "6"]) {
        const { layer, archive, context } = await attack((host) =>
          forgeTar([{ name: "f" }, { name, type, linkName: type === "1" ? "f" : host, major: 1, minor: 3 }]),
        );
        expect(refused(layer).error).toContain("root");
        expect(refused(archive).code).toBe("corrupt");
        expect(refused(context).code).toBe("corrupt");
      }
    },
  );

  test("as a directory it gives the root its attributes, and ADD leaves its destination alone", async () => {
    const doors = await attack(() => forgeTar([{ name: "./", mode: 0o700 }, { name: "f" }]));
    for (const door of Object.values(doors)) expect(accepted(door)).toEqual(["f"]);
  });
});
