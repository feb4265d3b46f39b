import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "./lab.js";
import { BUSYBOX } from "./lab.js";
import { forgeImage, forgeOciArchive } from "./oci-forge.js";
import type { ForgeImageOptions } from "./oci-forge.js";
import { forgeTar } from "./tar-forge.js";
import type { ForgedMember } from "./tar-forge.js";

/** How Containerfiles name the image of `loadBase`. */
export const HOSTILE = "localhost/hostile:latest";

let below: Buffer | undefined;

/** A layer with busybox and a link for each of its applets. */
export function busyboxLayer(): Buffer {
  below ??= forgeTar([
    { name: "bin/" },
    { name: "bin/busybox", content: readFileSync(BUSYBOX), mode: 0o755 },
    ...execFileSync(BUSYBOX, ["--list"], { encoding: "utf8" })
      .trim()
      .split("\n")
      .flatMap((name) =>
        name === "busybox" ? [] : [{ name: `bin/${name}`, type: "2", linkName: "busybox" }],
      ),
    { name: "tmp/", mode: 0o1777 },
  ]);
  return below;
}

/** Loads busybox with a layer of these members on top, as an image that came from elsewhere. */
export async function loadBase(
  lab: Lab,
  members: readonly ForgedMember[],
  options: Omit<ForgeImageOptions, "layers"> = {},
): Promise<void> {
  const layers = members.length === 0 ? [busyboxLayer()] : [busyboxLayer(), forgeTar(members)];
  const path = join(lab.dir, "hostile.tar");
  writeFileSync(path, forgeOciArchive(forgeImage({ layers, name: HOSTILE, ...options })));
  await lab.cooper.load(path);
}

/** Runs a command in an image; its exit status and all that it wrote. */
export async function runIn(
  lab: Lab,
  image: string,
  command: readonly string[],
  options: Parameters<Lab["cooper"]["run"]>[1] = {},
): Promise<{ readonly status: number; readonly output: string }> {
  const chunks: Uint8Array[] = [];
  const status = await lab.cooper.run(image, {
    command,
    network: "none",
    onOutput: (_stream, chunk) => void chunks.push(chunk),
    ...options,
  });
  return { status, output: Buffer.concat(chunks).toString("utf8") };
}
