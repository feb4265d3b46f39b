import { describe, expect, test } from "vitest";
import { mountOptions } from "../../src/cli/commands/mount-flags.js";
import type { World } from "../../src/cli/world.js";

const world = { cwd: "/here", env: { TOKEN: "x" } } as unknown as World;
const none = { secret: [], ssh: [], volume: [] };

describe("--secret", () => {
  test.each([
    ["id=a,src=s", { a: { file: "/here/s" } }],
    ["id=a,source=/s", { a: { file: "/s" } }],
    ["id=a,env=V", { a: { env: "V" } }],
    ["type=env,id=a,src=V", { a: { env: "V" } }],
    ["type=env,id=V", { V: { env: "V" } }],
    ["type=file,id=TOKEN", { TOKEN: { file: "/here/TOKEN" } }],
    ["id=TOKEN", { TOKEN: { env: "TOKEN" } }],
    ["id=other", { other: { file: "/here/other" } }],
  ])("%s", (text, secrets) => {
    expect(mountOptions({ ...none, secret: [text] }, world)).toEqual({ secrets });
  });

  test.each(["", "src=x", "id=", "id=a,value=x", "id=a,src=f,env=V", "id=a,type=file,env=V", "id=a,type=b"])(
    "%j is refused",
    (text) => {
      expect(() => mountOptions({ ...none, secret: [text] }, world)).toThrow(/^--secret: /);
    },
  );
});

test.each([
  ["default", { default: [] }],
  ["a=key", { a: ["/here/key"] }],
  ["a=/k1,k2", { a: ["/k1", "/here/k2"] }],
])("--ssh %s", (text, ssh) => {
  expect(mountOptions({ ...none, ssh: [text] }, world)).toEqual({ ssh });
});

test("--volume: sources are taken from the command's directory, and named volumes refused", () => {
  expect(mountOptions({ ...none, volume: ["./a:/b", "/c:/d:ro,z"] }, world)).toEqual({
    volumes: ["/here/a:/b", "/c:/d:ro,z"],
  });
  expect(() => mountOptions({ ...none, volume: ["name:/b"] }, world)).toThrow(/named volumes/);
  expect(() => mountOptions({ ...none, volume: ["/a"] }, world)).toThrow(/^--volume: "\/a" is not/);
});
