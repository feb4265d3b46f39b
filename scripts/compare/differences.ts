import type { Attributes, ImageFacts } from "./types.js";

/** What was seen from one build. Broken: an image that cannot be put together, e.g. a file below a link. */
export type Seen =
  | { readonly kind: "built"; readonly facts: ImageFacts }
  | { readonly kind: "rejected" | "broken"; readonly message: string };

/** One line for each difference, `WHERE: WHAT OURS | THEIRS`; [] when both are the same. */
export function differences(ours: Seen, theirs: Seen): readonly string[] {
  if (ours.kind !== theirs.kind) return [`${verb(ours)} | ${verb(theirs)}`];
  if (ours.kind !== "built" || theirs.kind !== "built") return [];
  const paths = union(ours.facts.tree, theirs.facts.tree);
  return [
    ...paths.flatMap((path) => ofPath(path, ours.facts.tree[path], theirs.facts.tree[path])),
    ...ofAttributes("config", ours.facts.config, theirs.facts.config),
  ];
}

const verb = ({ kind }: Seen): string => (kind === "built" ? "accepted" : kind);

function ofPath(
  path: string,
  ours: Attributes | undefined,
  theirs: Attributes | undefined,
): readonly string[] {
  if (ours === undefined || theirs === undefined || ours["type"] !== theirs["type"])
    return [`${path}: ${summary(ours)} | ${summary(theirs)}`];
  return ofAttributes(path, ours, theirs);
}

function ofAttributes(where: string, ours: Attributes, theirs: Attributes): readonly string[] {
  return union(ours, theirs)
    .filter((name) => ours[name] !== theirs[name])
    .map((name) => `${where}: ${name} ${ours[name] ?? "-"} | ${theirs[name] ?? "-"}`);
}

/** What lies at a path, in a few words: `file 0644 0:0`. */
function summary(attributes: Attributes | undefined): string {
  if (attributes === undefined) return "-";
  const { type, mode, owner, target } = attributes;
  return [type, mode, owner, target === undefined ? undefined : `-> ${target}`]
    .filter((part) => part !== undefined)
    .join(" ");
}

function union(a: object, b: object): readonly string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted();
}
