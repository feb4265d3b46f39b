import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { textOf } from "../../src/fs/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { failureOf, listTree, openRoom, opened } from "./room.js";

/** What became of a hostile tar: a listing, or one clear error. */
export type Outcome =
  { readonly listing: readonly string[] } | { readonly error: string; readonly code: string };

export interface Outcomes {
  /** As a pulled layer: registered, its tree made. */
  readonly layer: Outcome;
  /** As a local archive that ADD unpacks. */
  readonly archive: Outcome;
}

/**
 * Takes a tar through both ways in and checks what holds whatever it is: nothing outside is touched, nothing stays in
 * the store's temporary directory, an error is a CooperError of one line, and a tar that is refused is not registered.
 * `make` gets a directory of the host with the files `secret` and `victim`.
 */
export async function attack(make: (host: string) => Buffer): Promise<Outcomes> {
  await using room = openRoom();
  const host = join(room.dir, "host");
  mkdirSync(host);
  writeFileSync(join(host, "secret"), "secret");
  writeFileSync(join(host, "victim"), "");
  const tar = make(host);
  const before = readdirSync(room.dir).toSorted();
  const layer = await outcomeOf(async () => listTree(await room.tree((await room.pull(tar)).diffId)));
  expect(readdirSync(room.dir).toSorted()).toEqual(before);
  const path = join(room.dir, "archive.tar");
  writeFileSync(path, tar);
  const archive = await outcomeOf(() => listArchive(path, room));
  expect(readdirSync(host).toSorted()).toEqual(["secret", "victim"]);
  expect(readFileSync(join(host, "secret"), "utf8")).toBe("secret");
  expect(readFileSync(join(host, "victim"), "utf8")).toBe("");
  expect(room.staged()).toEqual([]);
  return { layer, archive };
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
