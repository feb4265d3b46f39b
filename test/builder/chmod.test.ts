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
    // What follows was compared with BuildKit.
    ["00000755", 0o644, false, 0o755],
    ["=rw", 0o4755, false, 0o666],
    ["a=", 0o7777, true, 0o1000],
    ["a=t", 0o1777, true, 0o1000],
    ["u=", 0o4755, false, 0o055],
    ["g=s", 0o2777, true, 0o2707],
    ["o+st", 0o755, false, 0o755],
    ["+rwxXst", 0o644, false, 0o1644],
    ["a=rwxst", 0o644, false, 0o7777],
    ["go=u-w", 0o711, false, 0o755],
    ["u=g", 0o4750, false, 0o4550],
    ["g=go", 0o607, false, 0o677],
    ["go-u", 0o755, false, 0o700],
    ["+u", 0o600, false, 0o666],
    ["u=gr", 0o020, false, 0o420],
    ["u=rgw", 0o040, false, 0o240],
    ["o=g,g=u", 0o070, false, 0o007],
    ["u=x+w", 0o755, false, 0o355],
    ["a-x+X", 0o711, false, 0o711],
    ["-X", 0o755, true, 0o644],
    ["u-X", 0o644, false, 0o644],
    ["=X", 0o640, true, 0o111],
    ["u+x-", 0o644, false, 0o744],
  ])("%s turns %o into the right mode", (text, mode, isDirectory, expected) => {
    expect(parseChmod(text).apply(mode, isDirectory)).toBe(expected);
  });

  test.each([
    "",
    "8",
    "999",
    "rwx",
    "u=q",
    "u=rw,",
    "12345",
    "10000",
    "u",
    ",",
    "u+x,,g+x",
    "u=r,755",
    "0x1ff",
    "+1",
  ])("%j is refused", (text) => {
    expect(() => parseChmod(text)).toThrow(/--chmod=.*octal/);
  });
});
