import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect } from "vitest";
import { joinPath, removeTree, ROOT, textOf } from "../../src/fs/index.js";
import type { BytePath } from "../../src/fs/index.js";
import type { DiffId } from "../../src/image/index.js";
import { openCooper } from "../../src/index.js";
import type { BuildOptions, Cooper } from "../../src/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { openSnapshotter } from "../../src/snapshot/index.js";
import { openStore } from "../../src/store/index.js";
import { openCanary } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { forgeImage, forgeOciArchive } from "../support/oci-forge.js";
import { describeTree, diffIdOf, failureOf, listTree, openRoom, opened } from "./room.js";

/** What became of a hostile tar: a listing, or one clear error. */
export type Outcome =
  { readonly listing: readonly string[] } | { readonly error: string; readonly code: string };

export interface Outcomes {
  /** As a pulled layer: registered, its tree made. */
  readonly layer: Outcome;
  /** As the members that ADD is given of a local archive. */
  readonly archive: Outcome;
  /** As an archive that ADD unpacks into /in of an image. */
  readonly add: Outcome;
  /** As the build context, all of it copied. */
  readonly context: Outcome;
}

/**
 * Takes a tar through all four ways in (pulled layer, ADD, build context, load) and checks what holds whatever it is:
 * nothing outside is touched, nothing stays in the store's temporary directory or lies where the store keeps nothing, an
 * error is a CooperError of one line, a tar that is refused is not registered, and loading is as pulling.
 * `make` gets a directory of the host with the files `secret` and `victim`.
 */
export async function attack(make: (host: string) => Buffer): Promise<Outcomes> {
  await using room = openRoom();
  using canary = openCanary(room.dir);
  const tar = make(canary.dir);
  const layer = await outcomeOf(async () => listTree(await room.tree((await room.pull(tar)).diffId)));
  check(room.dir, canary);
  const path = join(room.dir, "archive.tar");
  writeFileSync(path, tar);
  const archive = await outcomeOf(() => listArchive(path, room));
  expect(room.staged()).toEqual([]);
  const add = await outcomeOf(() => built(room.dir, { contextDir: room.dir, containerfile: ADD }));
  check(room.dir, canary);
  const context = await outcomeOf(() =>
    built(room.dir, { context: Readable.from([tar]), containerfile: "FROM scratch\nCOPY . /in/\n" }),
  );
  check(room.dir, canary);
  expect(await outcomeOf(() => loaded(room.dir, tar))).toEqual(layer);
  check(room.dir, canary);
  // What is no archive, ADD copies as the file that it is.
  const isCopied = "listing" in add && add.listing.join() === "archive.tar";
  if ("error" in archive && !isCopied) expect(add).toEqual(archive);
  return { layer, archive, add, context };
}

const ADD = "FROM scratch\nADD archive.tar /in/\n";

/** Where a store keeps what it has; nothing else may ever lie in it. */
const ROOMS = ["CACHEDIR.TAG", "blobs", "cache", "format.json", "images", "layers", "locks", "refs", "tmp"];
const PARTS = /^(tree|tar|layer\.json|blob-[0-9a-f]{64}\.json)$/;

/** Nothing but the store, the canary and our own files lies in the directory, and the canary is as it was. */
function check(dir: string, canary: Canary): void {
  canary.untouched();
  for (const name of readdirSync(dir))
    expect(["store", "host", "archive.tar", "load.tar", "out", "other"]).toContain(name);
  for (const store of [join(dir, "store"), join(dir, "other")].filter((path) => existsSync(path))) {
    expect(readdirSync(join(store, "tmp"))).toEqual([]);
    expect(strangersIn(store)).toEqual([]);
  }
}

function strangersIn(store: string): readonly string[] {
  const rooms = readdirSync(store).filter((name) => !ROOMS.includes(name));
  const layers = join(store, "layers");
  const parts = readdirSync(layers).flatMap((id) =>
    readdirSync(join(layers, id)).flatMap((part) => (PARTS.test(part) ? [] : [`layers/${id}/${part}`])),
  );
  return [...rooms, ...parts];
}

/** Paths below /in of what a build makes, by a store of its own. */
async function built(dir: string, options: BuildOptions): Promise<readonly string[]> {
  const dest = join(dir, "out");
  try {
    await inOther(dir, (cooper) => cooper.build({ ...options, outputs: [{ type: "local", dest }] }));
    return existsSync(join(dest, "in")) ? listTree(join(dest, "in")) : [];
  } finally {
    await removeTree(dest);
  }
}

/** Loads an image of this one layer and makes its tree. */
async function loaded(dir: string, tar: Buffer): Promise<readonly string[]> {
  const path = join(dir, "load.tar");
  writeFileSync(path, forgeOciArchive(forgeImage({ layers: [tar], name: "forged" })));
  const images = await inOther(dir, async (cooper) => {
    try {
      await cooper.load(path);
    } finally {
      expect((await cooper.images({ all: true })).length).toBeLessThanOrEqual(3);
    }
    return cooper.images();
  });
  expect(images.map(({ names }) => names)).toContainEqual(["localhost/forged:latest"]);
  await using store = openStore(join(dir, "other"), { userNamespace: false });
  const home = { home: store.layers, syscalls: treeSyscalls, userNamespace: false };
  await using snapshots = openSnapshotter({ ...home, rootfs: "overlay" });
  await using rootfs = await snapshots.prepare([diffIdOf(tar)]);
  if (rootfs.kind !== "overlay") throw new Error("not a store of overlays");
  return listTree(rootfs.lowerDirs.at(-1) ?? "");
}

/** All entries that a tar makes, by the door it came through, as `describeTree` has them; the tar must not be refused. */
export async function entries(
  tar: Buffer,
): Promise<Readonly<Record<"layer" | "add" | "context" | "load", readonly string[]>>> {
  await using room = openRoom({ parent: "/dev/shm" });
  const described = async (make: (cooper: Cooper) => Promise<readonly DiffId[]>, path: string) => {
    const diffIds = await inOther(room.dir, make);
    await using store = openStore(join(room.dir, "other"), { userNamespace: false });
    const home = { home: store.layers, syscalls: treeSyscalls, userNamespace: false };
    await using snapshots = openSnapshotter({ ...home, rootfs: "overlay" });
    using view = await snapshots.view(diffIds);
    // A root or destination is not the tar's own.
    return view
      .list(path as BytePath)
      .flatMap((name) => describeTree(view, joinPath(path as BytePath, name)));
  };
  const build = (options: BuildOptions, path: string) =>
    described(async (cooper) => (await cooper.build(options)).config.rootfs.diff_ids, path);
  const { diffId } = await room.pull(tar);
  await room.tree(diffId);
  using layer = await room.snapshots.view([diffId]);
  writeFileSync(join(room.dir, "archive.tar"), tar);
  writeFileSync(join(room.dir, "load.tar"), forgeOciArchive(forgeImage({ layers: [tar], name: "forged" })));
  return {
    layer: layer.list(ROOT).flatMap((name) => describeTree(layer, name as BytePath)),
    add: await build({ contextDir: room.dir, containerfile: ADD }, "in"),
    context: await build(
      { context: Readable.from([tar]), containerfile: "FROM scratch\nCOPY . /in/\n" },
      "in",
    ),
    load: await described(async (cooper) => {
      await cooper.load(join(room.dir, "load.tar"));
      return [diffId];
    }, ""),
  };
}

async function inOther<T>(dir: string, use: (cooper: Cooper) => Promise<T>): Promise<T> {
  await using cooper = await openCooper({ root: join(dir, "other") });
  return await use(cooper);
}

async function listArchive(path: string, room: ReturnType<typeof openRoom>): Promise<readonly string[]> {
  const file = opened(path);
  try {
    const found: string[] = [];
    for await (const change of room.snapshots.readArchive(file, "archive.tar")) found.push(described(change));
    return found;
  } finally {
    file.close();
  }
}

function described(change: Change): string {
  if (change.kind !== "add") return `${change.kind} ${change.path}`;
  const { path, type } = change.entry;
  const content = change.content?.();
  if (content && !(content instanceof Uint8Array)) content.close();
  return `${textOf(path)}${type === "dir" ? "/" : type === "symlink" ? "@" : ""}`;
}

async function outcomeOf(list: () => Promise<readonly string[]>): Promise<Outcome> {
  try {
    return { listing: await list() };
  } catch (error) {
    const { message, code = "" } = error as Error & { code?: string };
    expect((error as Error).name, message).toBe("CooperError");
    expect(message).not.toContain("\n");
    return { error: message, code };
  }
}

/** The error of an outcome that must be one. */
export function refused(outcome: Outcome): { readonly error: string; readonly code: string } {
  if ("listing" in outcome) throw new Error(`accepted: ${outcome.listing.join(", ")}`);
  return outcome;
}

/** The listing of an outcome that must be one. */
export function accepted(outcome: Outcome): readonly string[] {
  if ("error" in outcome) throw new Error(`refused: ${outcome.error}`);
  return outcome.listing;
}

export { failureOf };
