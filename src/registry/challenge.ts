/** What a 401 asks for. Source: RFC 9110 section 11.6.1; distribution token specification. */
export type Challenge =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: string | undefined; readonly service: string | undefined };

const MAX_LENGTH = 8 * 1024;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const UNQUOTED = /[^\s,"]*/y;

/**
 * The challenges of all `WWW-Authenticate` headers, in order; schemes that we do not know and anything
 * unreadable are left out. Linear in the length, of which 8 KiB are read.
 */
export function parseChallenges(headers: string | readonly string[] | undefined): readonly Challenge[] {
  const texts = headers === undefined ? [] : typeof headers === "string" ? [headers] : headers;
  return texts.slice(0, 10).flatMap((text) => challengesOf(text.slice(0, MAX_LENGTH)));
}

function challengesOf(text: string): readonly Challenge[] {
  const found: { readonly scheme: string; readonly params: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(/[\s,]+/y);
    const word = take(TOKEN)?.[0];
    if (word === undefined) break;
    if (take(/\s*=\s*/y)) {
      const quoted = take(QUOTED);
      const value = quoted ? (quoted[1] ?? "").replace(/\\(.)/g, "$1") : (take(UNQUOTED)?.[0] ?? "");
      // The first one counts: a second realm="…" cannot replace it.
      const params = found.at(-1)?.params;
      if (params && !params.has(word.toLowerCase())) params.set(word.toLowerCase(), value);
    } else {
      found.push({ scheme: word.toLowerCase(), params: new Map() });
    }
  }
  return found.flatMap(({ scheme, params }): readonly Challenge[] => {
    if (scheme === "basic") return [{ scheme }];
    return scheme === "bearer"
      ? [{ scheme, realm: params.get("realm"), service: params.get("service") }]
      : [];
  });
}
