import { expect, test } from "vitest";
import { driverOptions } from "../../src/cli/commands/isolation-flags.js";

const options = (
  flags: { readonly isolation?: string; readonly runtime?: string },
  env: Readonly<Record<string, string>> = {},
) => driverOptions({ isolation: undefined, runtime: undefined, ...flags }, { env, cwd: "/work" });

test("nothing given is nothing asked", () => {
  expect(options({})).toEqual({});
  expect(options({}, { COOPER_ISOLATION: "", BUILDAH_ISOLATION: "" })).toEqual({});
});

test.each(["auto", "native", "oci", "chroot"])("%s by flag and by environment", (isolation) => {
  expect(options({ isolation })).toEqual({ isolation });
  expect(options({}, { BUILDAH_ISOLATION: isolation })).toEqual({ isolation });
  expect(options({}, { BUILDAH_ISOLATION: "oci", COOPER_ISOLATION: isolation })).toEqual({ isolation });
  expect(options({ isolation }, { BUILDAH_ISOLATION: "nonsense" })).toEqual({ isolation });
});

test("a runtime means oci, whatever the environment says; a path is one of the current directory", () => {
  expect(options({ runtime: "crun" }, { BUILDAH_ISOLATION: "chroot" })).toEqual({
    isolation: "oci",
    runtime: "crun",
  });
  expect(options({ runtime: "./bin/crun", isolation: "auto" })).toEqual({
    isolation: "oci",
    runtime: "/work/bin/crun",
  });
  expect(() => options({ runtime: "crun", isolation: "native" })).toThrow(
    "--runtime has no part in --isolation native",
  );
  expect(() => options({ runtime: "" })).toThrow("an empty name is no runtime");
});

test("what is none of them is an error that says where it stands", () => {
  expect(() => options({ isolation: "vm" })).toThrow(
    '--isolation: "vm" is not one of: auto, native, oci, chroot',
  );
  expect(() => options({}, { BUILDAH_ISOLATION: "vm" })).toThrow(
    /^BUILDAH_ISOLATION in the environment: "vm"/,
  );
});

test("buildah's rootless is oci for an ordinary user only", () => {
  if (process.geteuid?.() === 0) expect(() => options({ isolation: "rootless" })).toThrow("say oci");
  else expect(options({ isolation: "rootless" })).toEqual({ isolation: "oci" });
});
