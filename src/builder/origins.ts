import { CooperError, withPlace } from "../errors.js";
import type { Platform } from "../image/index.js";
import { parsePlatform } from "../image/index.js";
import type { Flag, FromInstruction } from "../parser/index.js";
import { nearest } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";
import { expandAt } from "./expand.js";
import type { Expansion } from "./expand.js";
import type { KnownVariables, PlannedInstruction } from "./known-variables.js";
import { expandKnown } from "./known-variables.js";

/** What a stage starts from, or an instruction reads from. `stage` is an index into the list of stages at hand. */
export type Origin =
  | { readonly kind: "scratch" }
  | { readonly kind: "stage"; readonly stage: number }
  | {
      readonly kind: "image";
      readonly name: string;
      readonly platform: Platform;
      /** Where the file, or a trigger, names it. */
      readonly source: SourceText;
      readonly span: Span;
    }
  /** A named build context that is a directory. */
  | { readonly kind: "context"; readonly name: string; readonly span: Span };

/** What `--build-context NAME=…` stands for: an image by the name that finds it, or a directory. */
export type NamedContext =
  { readonly kind: "image"; readonly image: string } | { readonly kind: "directory" };

/** A FROM of the file with the instructions up to the next one. */
export interface RawStage {
  readonly from: FromInstruction;
  readonly name?: string;
  readonly instructions: readonly PlannedInstruction[];
}

/** What names can mean. */
export interface Names {
  readonly raw: readonly RawStage[];
  /** The numbers of the stages of each name, in file order. */
  readonly byName: ReadonlyMap<string, readonly number[]>;
  /** By the name that `contextName` makes. */
  readonly contexts: ReadonlyMap<string, NamedContext>;
  /** The build's target. */
  readonly platform: Platform;
}

/** The one spelling of a named context: `docker.io/library/alpine:latest` is `alpine`. Source: BuildKit, named contexts. */
export function contextName(text: string): string {
  return text
    .toLowerCase()
    .replace(/^docker\.io\/(?:library\/)?/, "")
    .replace(/:latest$/, "");
}

/** The platform that FROM wants: `--platform`, else the build's. Throws `syntax` with the place. */
export function platformOf(
  from: FromInstruction,
  at: Expansion,
  globals: ReadonlyMap<string, string>,
  own: Platform,
): Platform {
  const flag = from.flags.find(({ name }) => name === "platform");
  if (!flag?.value) return own;
  const text = expandAt(at.source, { text: flag.value, span: flag.span }, at.escape, (name) =>
    globals.get(name),
  );
  if (text === "") throw empty("FROM --platform", flag.value, at.source, flag.span);
  try {
    return parsePlatform(text);
  } catch (error) {
    throw withPlace(error, at.source, flag.span);
  }
}

/**
 * What FROM names: a named context, the latest earlier stage of that name, `scratch`, else an image. Throws `syntax` with
 * the place.
 */
export function baseOf(
  index: number,
  names: Names,
  at: Expansion,
  globals: ReadonlyMap<string, string>,
  platform: Platform,
): Origin {
  const stage = names.raw[index];
  if (!stage) throw new Error(`no stage ${index}`);
  const { image } = stage.from;
  const name = expandAt(at.source, image, at.escape, (variable) => globals.get(variable));
  if (name === "") throw empty("FROM", image.text, at.source, image.span);
  const context = contextOrigin(name, names, platform, { source: at.source, span: image.span });
  if (context) return context;
  const earlier = stagesNamed(name, names).findLast((one) => one < index);
  if (earlier !== undefined) return { kind: "stage", stage: earlier };
  if (name === "scratch") return { kind: "scratch" };
  return { kind: "image", name, platform, source: at.source, span: image.span };
}

/** For `Names.byName`: among thousands of stages none should be looked for by going through all of them. */
export function numbersByName(stages: readonly RawStage[]): ReadonlyMap<string, readonly number[]> {
  const byName = new Map<string, number[]>();
  for (const [number, { name }] of stages.entries()) {
    const alike = name === undefined ? undefined : byName.get(name);
    if (alike) alike.push(number);
    else if (name !== undefined) byName.set(name, [number]);
  }
  return byName;
}

function stagesNamed(name: string, { byName }: Names): readonly number[] {
  return byName.get(name.toLowerCase()) ?? [];
}

function empty(where: string, text: string, source: SourceText, span: Span): CooperError {
  return new CooperError("syntax", `${where} ${text}: it is empty once its variables are filled in`, {
    source,
    span,
    hint: "FROM sees only ARGs that stand before the first FROM, and --build-arg",
  });
}

/** What a name means as a named build context, if it is one. */
export function contextOrigin(
  name: string,
  { contexts }: Names,
  platform: Platform,
  place: { readonly source: SourceText; readonly span: Span },
): Origin | undefined {
  const key = contextName(name);
  const context = contexts.get(key);
  if (!context) return undefined;
  if (context.kind === "directory") return { kind: "context", name: key, span: place.span };
  return context.image === "scratch"
    ? { kind: "scratch" }
    : { kind: "image", name: context.image, platform, ...place };
}

/** A `from` of COPY or of a mount. */
export interface FromWord {
  /** As errors call it: `COPY --from`. */
  readonly what: string;
  readonly text: string;
  readonly span: Span;
}

/** The `--from` of a COPY, when there is one that says something. */
export function fromFlag(flags: readonly Flag[]): FromWord | undefined {
  const flag = flags.find(({ name }) => name === "from");
  return flag?.value ? { what: "COPY --from", text: flag.value, span: flag.span } : undefined;
}

/** The name that a `from` holds once its variables are filled in. Throws `syntax` with the place. */
export function fromName(from: FromWord, known: KnownVariables, at: Expansion): string {
  const name = expandKnown(known, (lookup) => expandAt(at.source, from, at.escape, lookup));
  if (name) return name;
  const why =
    name === undefined
      ? "it has a variable that only the base image can set"
      : "it is empty once its variables are filled in";
  throw new CooperError("syntax", `${from.what}=${from.text}: ${why}`, {
    source: at.source,
    span: from.span,
    hint: "declare it with ARG in this stage, above the instruction",
  });
}

/**
 * Where the `name` of a `from` leads: a named context, a stage by name or number, `scratch`, else an image. Only stages before `index`
 * can be read. Throws `syntax`, `not-found` with the place.
 */
export function originOf(
  from: FromWord,
  name: string,
  index: number,
  names: Names,
  { source }: Expansion,
): Origin {
  const context = contextOrigin(name, names, names.platform, { source, span: from.span });
  if (context) return context;
  const earlier = stagesNamed(name, names).findLast((one) => one < index);
  if (earlier !== undefined) return { kind: "stage", stage: earlier };
  if (/^\d+$/.test(name) && Number(name) < index) return { kind: "stage", stage: Number(name) };
  const why = notBefore(name, index, names);
  if (why !== undefined) {
    throw new CooperError("not-found", `${from.what}=${from.text}: ${why}`, { source, span: from.span });
  }
  if (name === "scratch") return { kind: "scratch" };
  return { kind: "image", name, platform: names.platform, source, span: from.span };
}

/** Why a name cannot be read, when it means a stage that is not before `index`. */
function notBefore(name: string, index: number, names: Names): string | undefined {
  const isNumber = /^-?\d+$/.test(name);
  const at = isNumber ? Number(name) : (stagesNamed(name, names).find((one) => one >= index) ?? -1);
  if (isNumber ? !names.raw[at] : at < 0) return isNumber ? `there is no stage ${name}` : undefined;
  return at === index ? "a stage cannot copy from itself" : "a stage can only copy from stages before it";
}

/** The name among `candidates` that was probably meant, as a hint. */
export function didYouMean(text: string, candidates: readonly (string | undefined)[]): string | undefined {
  const meant = nearest(
    text,
    candidates.filter((one) => one !== undefined),
  );
  return meant === undefined ? undefined : `did you mean ${meant}?`;
}
