import { printable } from "../errors.js";
import type { ListedInput } from "./file-list.js";
import type { KeyComponent } from "./types.js";

/** What a step was made from, as it is kept: opaque values already digests. */
export interface Inputs {
  readonly components: readonly KeyComponent[];
  /** Sorted by path. Missing when the step has no files; undefined lists of a step that has some are not compared. */
  readonly files?: readonly ListedInput[];
  readonly filesDigest?: string;
}

const SUBJECTS: Readonly<Record<string, string>> = {
  instruction: "the instruction",
  base: "the base image",
  parent: "an earlier step",
  platform: "the platform",
};
/** Named by these, a change is told only when there is nothing nearer: it follows from what was told at an earlier step. */
const INHERITED = new Set(["parent"]);
const SHOWN_FILES = 3;

/** One line: all that differs, nearest first. */
export function explainChange(before: Inputs, now: Inputs): string {
  const changes = changedComponents(before.components, now.components);
  const reasons = [
    ...changes.filter((change) => change.name === "instruction"),
    ...changes.filter((change) => change.name !== "instruction" && !INHERITED.has(change.name)),
  ].map((change) => change.sentence);
  if (before.filesDigest !== now.filesDigest) reasons.push(explainFiles(before.files, now.files));
  const inherited = changes.filter((change) => INHERITED.has(change.name)).map((change) => change.sentence);
  const told = reasons.length > 0 ? reasons : inherited;
  return printable(told.join("; ") || "its result is no longer stored").replace(/[\n\t]/g, "?");
}

interface Change {
  readonly name: string;
  readonly sentence: string;
}

function changedComponents(before: readonly KeyComponent[], now: readonly KeyComponent[]): readonly Change[] {
  const old = new Map(before.map((component) => [component.name, component]));
  const current = new Map(now.map((component) => [component.name, component]));
  const changed = now.filter(({ name, value }) => old.has(name) && old.get(name)?.value !== value);
  const added = now.filter(({ name }) => !old.has(name));
  const removed = before.filter(({ name }) => !current.has(name));
  return [
    ...changed.map((component) => toldOf(component, "changed")),
    ...added.map((component) => toldOf(component, "is new")),
    ...removed.map((component) => toldOf(component, "is gone")),
  ];
}

function toldOf(component: KeyComponent, verb: string): Change {
  const { name, label } = component;
  const isSentence = label !== undefined && / changed\b/.test(label);
  return { name, sentence: isSentence ? label : `${label ?? SUBJECTS[name] ?? name} ${verb}` };
}

/** One file's change: a sentence when it is the only one, a word in brackets otherwise ("" for its content). */
interface FileChange {
  readonly path: string;
  readonly sentence: string;
  readonly note: string;
}

function explainFiles(
  before: readonly ListedInput[] | undefined,
  now: readonly ListedInput[] | undefined,
): string {
  const changes = before && now ? changedFiles(before, now) : [];
  const [first] = changes;
  if (!first) return "its files changed";
  if (changes.length === 1) return first.sentence;
  const shown = changes
    .slice(0, SHOWN_FILES)
    .map(({ path, note }) => (note === "" ? path : `${path} (${note})`));
  const more = changes.length - shown.length;
  return `${changes.length} files changed: ${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function changedFiles(before: readonly ListedInput[], now: readonly ListedInput[]): readonly FileChange[] {
  const old = new Map(before.map((file) => [file.path, file]));
  const changes: FileChange[] = [];
  for (const file of now) {
    const was = old.get(file.path);
    old.delete(file.path);
    if (!was) changes.push({ path: file.path, sentence: `${file.path} is new`, note: "new" });
    else if (was.mark !== file.mark) changes.push(changeOf(was, file));
  }
  for (const { path } of old.values()) changes.push({ path, sentence: `${path} is gone`, note: "gone" });
  return changes.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function changeOf(was: ListedInput, is: ListedInput): FileChange {
  const { path } = is;
  const hasSameContent = was.contentMark !== "" && was.contentMark === is.contentMark;
  if (!hasSameContent) return { path, sentence: `${path} changed`, note: "" };
  const what =
    was.mode !== is.mode ? "mode" : was.uid !== is.uid || was.gid !== is.gid ? "owner" : "attributes";
  return { path, sentence: `${what} of ${path} changed`, note: what };
}
