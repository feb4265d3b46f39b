// The directory of a run, and the base image that the cases stand on.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Cooper } from "../../src/index.js";
import { writeBusyboxRootfs } from "../../test/support/busybox-rootfs.js";
import type { Bench } from "./cases.js";
import { makeContext } from "./context.js";
import type { ContextEntry } from "./context.js";

/** The name by which the cases know the base image. */
export const BASE_NAME = "localhost/compare-base";

const BASE = `FROM scratch
ADD rootfs.tar /
ENV PATH=/bin
CMD ["sh"]
`;

/** A bench whose `base` is busybox and what fixtures/differential/base.json adds. */
export interface CaseBench extends Bench {
  /** The base as an OCI archive, to be loaded by every builder under BASE_NAME. */
  readonly archive: string;
  close(): void;
}

/** Makes the base image. Needs root and busybox. Whoever opens calls `close`. */
export async function openBench(fixtures: string, cooper: Cooper): Promise<CaseBench> {
  const dir = mkdtempSync(join(tmpdir(), "cooper-compare-"));
  const rootfs = join(dir, "rootfs");
  const context = join(dir, "base-context");
  const [base, archive] = [join(dir, "base"), join(dir, "base.tar")];
  mkdirSync(rootfs);
  mkdirSync(context);
  writeBusyboxRootfs(rootfs);
  makeContext(
    rootfs,
    JSON.parse(readFileSync(join(fixtures, "base.json"), "utf8")) as readonly ContextEntry[],
  );
  const what = ["--numeric-owner", "--sort=name", "--xattrs", `--directory=${rootfs}`, "."];
  execFileSync("tar", ["--create", `--file=${context}/rootfs.tar`, "--format=pax", ...what]);
  writeFileSync(join(context, "Containerfile"), BASE);
  const { imageId } = await cooper.build({ contextDir: context });
  await cooper.save([imageId], { format: "oci-dir", dest: base });
  await cooper.save([imageId], { format: "oci-archive", dest: archive });
  return {
    fixtures,
    dir,
    base,
    archive,
    cache: new Map(),
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}
