import { CooperError } from "../errors.js";
import type { Platform } from "../image/index.js";
import { formatPlatform } from "../image/index.js";
import type { FromInstruction, Instruction } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";
import { expandAt } from "./expand.js";

/** What a stage starts from, or a COPY reads from. `stage` is an index into the list of stages at hand. */
export type Origin =
  | { readonly kind: "scratch" }
  | { readonly kind: "stage"; readonly stage: number }
  | { readonly kind: "image"; readonly name: string; readonly span: Span };

/** A FROM of the file with the instructions up to the next one. */
export interface RawStage {
  readonly from: FromInstruction;
  readonly name?: string;
  readonly instructions: Instruction[];
}

/** What FROM names: `scratch`, the latest earlier stage of that name, else an image. Throws `syntax`, `unsupported` with the place. */
export function baseOf(
  source: SourceText,
  escape: "\\" | "`",
  raw: readonly RawStage[],
  index: number,
  globalArgs: ReadonlyMap<string, string>,
  own: Platform,
): Origin {
  const stage = raw[index];
  if (!stage) throw new Error(`no stage ${index}`);
  const { image, flags } = stage.from;
  const lookup = (name: string): string | undefined => globalArgs.get(name);
  for (const flag of flags) {
    if (flag.name !== "platform" || flag.value === undefined) continue;
    const wanted = expandAt(source, { text: flag.value, span: flag.span }, escape, lookup);
    if (wanted !== formatPlatform(own) && wanted !== `${own.os}/${own.architecture}`) {
      throw new CooperError(
        "unsupported",
        `FROM --platform=${wanted}: only ${formatPlatform(own)} can be built here yet`,
        {
          source,
          span: flag.span,
        },
      );
    }
  }
  const name = expandAt(source, image, escape, lookup);
  if (name === "") {
    throw new CooperError(
      "syntax",
      `FROM ${image.text}: the image name is empty once its variables are filled in`,
      {
        source,
        span: image.span,
        hint: "FROM sees only ARGs that stand before the first FROM, and --build-arg",
      },
    );
  }
  if (name === "scratch") return { kind: "scratch" };
  const earlier = raw.slice(0, index).findLastIndex((s) => s.name === name.toLowerCase());
  return earlier >= 0 ? { kind: "stage", stage: earlier } : { kind: "image", name, span: image.span };
}

/** Where the `--from`s of a stage read, by instruction. Throws `not-found`, `unsupported` with the place. */
export function originsOf(
  source: SourceText,
  raw: readonly RawStage[],
  index: number,
): ReadonlyMap<Instruction, Origin> {
  const found = new Map<Instruction, Origin>();
  for (const instruction of raw[index]?.instructions ?? []) {
    const flag = instruction.kind === "COPY" ? instruction.flags.find((f) => f.name === "from") : undefined;
    if (flag?.value === undefined) continue;
    found.set(instruction, originOf(source, raw, index, { text: flag.value, span: flag.span }));
  }
  return found;
}

function originOf(
  source: SourceText,
  raw: readonly RawStage[],
  index: number,
  from: { text: string; span: Span },
): Origin {
  if (from.text.includes("$")) {
    throw new CooperError("unsupported", `COPY --from=${from.text}: variables are not supported here`, {
      source,
      span: from.span,
      hint: "give the image a name with `FROM … AS name` and copy from that",
    });
  }
  const earlier = raw.slice(0, index).findLastIndex((s) => s.name === from.text.toLowerCase());
  if (earlier >= 0) return { kind: "stage", stage: earlier };
  if (/^\d+$/.test(from.text)) {
    const number = Number(from.text);
    if (number < index) return { kind: "stage", stage: number };
    throw new CooperError(
      "not-found",
      `COPY --from=${from.text}: there is no stage ${from.text} before this one`,
      {
        source,
        span: from.span,
      },
    );
  }
  if (raw.slice(index).some((s) => s.name === from.text.toLowerCase())) {
    throw new CooperError(
      "not-found",
      `COPY --from=${from.text}: a stage can only copy from stages before it`,
      {
        source,
        span: from.span,
      },
    );
  }
  return { kind: "image", name: from.text, span: from.span };
}
