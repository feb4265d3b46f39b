import { isRemoteUrl } from "../../fetch/index.js";
import type { DiffId } from "../../image/index.js";
import type { BuildEngine } from "../engine.js";
import type { RemoteSource } from "./remote.js";
import { findRemote } from "./remote.js";
import { checkRemotes, refuseUrl } from "./remote-check.js";
import type { CopyRequest } from "./request.js";
import type { CopySource, Selected, Wanted } from "./select.js";
import { missingSource, selectSource } from "./select.js";

/** Where a COPY or ADD reads, opened when it must be. */
export interface CopyOrigin {
  /** The build context, or a view of a stage or image that the caller of `open` disposes. */
  readonly open: () => Promise<CopySource & Partial<Disposable>>;
  /** What it is made of, when that is a stack of layers. */
  readonly layers?: readonly DiffId[];
  /** Names that stack. */
  readonly chain?: string;
}

/** The sources that are in the build context, a stage or an image. */
export function localWanted(request: CopyRequest): readonly Wanted[] {
  return wantedOf(request).filter(({ text }) => !isRemoteUrl(text));
}

function wantedOf({ verb, words, exclude, parents }: CopyRequest): readonly Wanted[] {
  return words.map((text, word) => ({ verb, text, word, exclude, parents }));
}

/** A wildcard may match nothing as long as there is anything to copy: `COPY package.json *.lock ./`. */
export function selectAll(source: CopySource, request: CopyRequest): readonly Selected[] {
  const wanted = localWanted(request);
  const selected = wanted.flatMap((one) => selectSource(source, one));
  const [first] = wanted;
  const isAlone = wanted.length === request.words.length && request.heredocs.length === 0;
  if (first && selected.length === 0 && isAlone) throw missingSource(source, first);
  return selected;
}

/** Sources that are fetched, by their place among the sources; all are asked for at once. */
export async function findRemotes(
  request: CopyRequest,
  engine: BuildEngine,
): Promise<ReadonlyMap<number, RemoteSource>> {
  if (request.verb === "COPY") request.words.forEach(refuseUrl);
  else checkRemotes([...request.words, ...request.heredocs.map(({ name }) => name)], request.checksum);
  const wanted = wantedOf(request).filter(({ text }) => isRemoteUrl(text));
  const found = wanted.map(async (one): Promise<[number, RemoteSource]> => [
    one.word,
    await findRemote(request, one, engine),
  ]);
  return new Map(await Promise.all(found));
}
