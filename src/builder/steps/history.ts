import { withoutUrlSecrets } from "../../errors.js";
import type { CopyInstruction } from "../../parser/index.js";
import type { Expansion } from "../expand.js";
import { expandAt } from "../expand.js";

/** What a COPY or ADD did, as `history` tells it, its variables filled in: where it reads is not told, since a name of a stage says nothing outside of the file, nor are the credentials of a URL. */
export function copyHistory(
  { kind, flags, sources, heredocs, destination }: CopyInstruction,
  lookup: (name: string) => string | undefined,
  at: Expansion,
): string {
  const expand = (word: CopyInstruction["destination"]): string =>
    expandAt(at.source, word, at.escape, lookup);
  const shown = ["chown", "chmod"].flatMap((name) => {
    const flag = flags.find((one) => one.name === name);
    return flag?.value === undefined ? [] : [`--${name}=${expand({ text: flag.value, span: flag.span })}`];
  });
  const words = [...sources.map(expand), ...heredocs.map(({ opener }) => opener), expand(destination)];
  return withoutUrlSecrets([kind, ...shown, ...words].join(" "));
}
