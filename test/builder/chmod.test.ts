import { describe, expect, test } from "vitest";
import { parseChmod } from "../../src/builder/copy/chmod.js";

describe("--chmod", () => {
  test.each([
    ["755", 0o600, false, 0o755],
    ["0644", 0o777, true, 0o644],
    ["4755", 0o644, false, 0o4755],
    ["u=rwX,go=rX", 0o600, false, 0o644],
    ["u=rwX,go=rX", 0o700, false, 0o755],
    ["u=rwX,go=rX", 0o600, true, 0o755],
    ["+x", 0o644, false, 0o755],
    ["g-w,o-rwx", 0o777, false, 0o750],
    ["a=r", 0o777, false, 0o444],
    ["u+s", 0o755, false, 0o4755],
    ["g+s,+t", 0o755, true, 0o3755],
  ])("%s turns %o into the right mode", (text, mode, isDirectory, expected) => {
    expect(parseChmod(text)(mode, isDirectory)).toBe(expected);
  });

  test.each(["", "8", "999", "rwx", "u=q", "u=rw,", "12345"])("%j is refused", (text) => {
    expect(() => parseChmod(text)).toThrow(/--chmod=.*octal/);
  });
});
