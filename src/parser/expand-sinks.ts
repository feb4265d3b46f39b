import { CooperError } from "../errors.js";
import { isBlank } from "./characters.js";

/** The longest result of one expansion, in UTF-16 units. */
const LONGEST_RESULT = 1024 * 1024;

/** Takes the pieces of an expansion in order. `quoted` pieces are split into no words. */
export interface Sink {
  put(text: string, quoted: boolean): void;
}

/** Joins everything into one text. */
export function textSink(): Sink & { text(): string } {
  const parts: string[] = [];
  let length = 0;
  return {
    put(text) {
      length += text.length;
      if (length > LONGEST_RESULT) throw new CooperError("syntax", "the expanded text is longer than 1 MiB");
      parts.push(text);
    },
    text: () => parts.join(""),
  };
}

/** Splits at the blanks of unquoted pieces. An empty quoted piece makes an empty word, as in a shell. */
export function wordSink(): Sink & { words(): readonly string[] } {
  const words: string[] = [];
  const limit = textSink();
  let word: string | undefined;
  const close = (): void => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  return {
    put(text, quoted) {
      limit.put(text, true);
      if (quoted) {
        word = (word ?? "") + text;
        return;
      }
      let from = 0;
      for (let at = 0; at <= text.length; at++) {
        const blank = at < text.length && (isBlank(text.charCodeAt(at)) || text[at] === "\n");
        if (at < text.length && !blank) continue;
        if (at > from) word = (word ?? "") + text.slice(from, at);
        if (blank) close();
        from = at + 1;
      }
    },
    words() {
      close();
      return words;
    },
  };
}
