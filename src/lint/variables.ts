/** A use of a variable, `$name` or `${name…`, in a text; the range covers `$name` or `${name`. */
export interface VariableUse {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

export interface VariableOptions {
  readonly escape: "\\" | "`";
  /** False in heredoc bodies, where quotes are text. */
  readonly quotes: boolean;
}

/**
 * Every variable that a word or heredoc body names, whether its value is taken in the end or not, as BuildKit counts them.
 * Names are the expansion's: identifiers, rows of digits, and the shell's special parameters.
 */
export function variablesIn(text: string, { escape, quotes }: VariableOptions): readonly VariableUse[] {
  if (!text.includes("$")) return [];
  const found: VariableUse[] = [];
  const name = /\$\{?([\p{L}_][\p{L}\p{Nd}_]*|\p{Nd}+|[@*#?$!-])/uy;
  let doubleQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === escape) at++;
    else if (quotes && char === '"') doubleQuoted = !doubleQuoted;
    else if (quotes && char === "'" && !doubleQuoted) {
      const close = text.indexOf("'", at + 1);
      if (close < 0) break;
      at = close;
    } else if (char === "$") {
      name.lastIndex = at;
      const use = name.exec(text);
      if (!use) continue;
      found.push({ name: use[1] ?? "", start: at, end: name.lastIndex });
      at = name.lastIndex - 1;
    }
  }
  return found;
}
