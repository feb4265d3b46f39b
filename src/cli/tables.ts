import type { HistoryRow, ImageSummary } from "../cooper.js";
import { byteSize, hexDigits, oneLine, shortId, timeAgo } from "./text.js";

const NARROWEST_COLUMN = 12;
const CREATED_BY_WIDTH = 45;

/** Rows as podman sets them: columns at least 12 wide with two spaces between, nothing after the last one. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries())
      widths[i] = Math.max(widths[i] ?? NARROWEST_COLUMN, widthOf(cell) + 2);
  }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - widthOf(cell))))
      .join("");
  return rows.map((row) => `${line(row)}\n`).join("");
}

/** In code points. */
function widthOf(cell: string): number {
  return Array.from(cell).length;
}

/** An image under one of its names; repository and tag are `<none>` where it has none. */
export interface ImageRow {
  readonly repository: string;
  readonly tag: string;
  readonly image: ImageSummary;
}

/** Splits a canonical name: `host:5000/app:1` is repository `host:5000/app` and tag `1`. */
export function splitName(name: string): { readonly repository: string; readonly tag: string } {
  const plain = name.split("@", 1)[0] ?? "";
  const colon = plain.lastIndexOf(":");
  if (colon <= plain.lastIndexOf("/")) return { repository: plain, tag: "<none>" };
  return { repository: plain.slice(0, colon), tag: plain.slice(colon + 1) };
}

/** Newest first. */
export function newestFirst(images: readonly ImageSummary[]): readonly ImageSummary[] {
  return images.toSorted((a, b) => b.created - a.created || (a.id < b.id ? -1 : 1));
}

/** One row for each name, in the order of the images. */
export function imageRows(images: readonly ImageSummary[]): readonly ImageRow[] {
  return images.flatMap((image): ImageRow[] =>
    image.names.length === 0
      ? [{ repository: "<none>", tag: "<none>", image }]
      : image.names.toSorted().map((name) => ({ ...splitName(name), image })),
  );
}

export interface ImagesTableOptions {
  /** ms since 1970. */
  readonly now: number;
  readonly noTrunc: boolean;
  readonly noHeading: boolean;
  /** Digests of the manifests by image id; the column is there only when this is. */
  readonly digests?: ReadonlyMap<string, string>;
}

/** `cooper images`. */
export function imagesTable(rows: readonly ImageRow[], options: ImagesTableOptions): string {
  const { digests } = options;
  const digestCell = (cell: string): readonly string[] => (digests ? [cell] : []);
  const heading = ["REPOSITORY", "TAG", ...digestCell("DIGEST"), "IMAGE ID", "CREATED", "SIZE"];
  const cells = rows.map(({ repository, tag, image }) => [
    oneLine(repository),
    oneLine(tag),
    ...digestCell(digests?.get(image.id) ?? "<none>"),
    options.noTrunc ? image.id : shortId(image.id),
    timeAgo(options.now - image.created),
    byteSize(image.size),
  ]);
  return formatTable(options.noHeading ? cells : [heading, ...cells]);
}

/** `cooper images -q`: each id once. */
export function imageIds(rows: readonly ImageRow[], options: { readonly noTrunc: boolean }): string {
  const ids = new Set(rows.map(({ image }) => (options.noTrunc ? image.id : shortId(image.id))));
  return [...ids].map((id) => `${id}\n`).join("");
}

export interface HistoryTableOptions {
  /** ms since 1970. */
  readonly now: number;
  readonly noTrunc: boolean;
  /** Sizes and times in words; else bytes and ISO times. */
  readonly human: boolean;
}

/** `cooper history`, newest step first as the rows come. */
export function historyTable(rows: readonly HistoryRow[], options: HistoryTableOptions): string {
  const cells = rows.map((row) => [
    historyId(row, options),
    createdCell(row.created, options),
    createdByCell(row.createdBy, options),
    options.human ? byteSize(row.size) : String(row.size),
    oneLine(row.comment),
  ]);
  return formatTable([["ID", "CREATED", "CREATED BY", "SIZE", "COMMENT"], ...cells]);
}

/** An id as `history` shows it; `<missing>` where the step's image is not stored here. */
export function historyId(row: HistoryRow, options: { readonly noTrunc: boolean }): string {
  if (row.id === undefined) return "<missing>";
  return options.noTrunc ? hexDigits(row.id) : shortId(row.id);
}

function createdCell(created: string | undefined, options: HistoryTableOptions): string {
  const time = created === undefined ? Number.NaN : Date.parse(created);
  if (Number.isNaN(time)) return "<none>";
  return options.human ? timeAgo(options.now - time) : new Date(time).toISOString();
}

function createdByCell(text: string, options: HistoryTableOptions): string {
  const safe = oneLine(text);
  if (options.noTrunc || safe.length <= CREATED_BY_WIDTH) return safe;
  return `${safe.slice(0, CREATED_BY_WIDTH - 3)}...`;
}
