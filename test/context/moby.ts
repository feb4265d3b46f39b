/**
 * moby's patternmatcher as its documentation and source describe it, written anew and naively for comparison: every
 * pattern becomes a JavaScript regular expression, every parent is tried. Only for ASCII, and for paths without newlines
 * where the expression has a dot.
 */
export function naiveIgnores(patterns: readonly string[], path: string): boolean {
  const parts = path.split("/");
  let ignored = false;
  for (const raw of patterns) {
    const pattern = clean(raw.trim());
    if (raw.trim() === "") continue;
    const negative = pattern[0] === "!";
    const body = negative ? pattern.slice(1) : pattern;
    const test = naiveTest(body);
    const hit = parts.some((_, i) => test(parts.slice(0, i + 1).join("/")));
    if (hit) ignored = !negative;
  }
  return ignored;
}

function clean(path: string): string {
  const out: string[] = [];
  const absolute = path[0] === "/";
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && out.length > 0 && out[out.length - 1] !== "..") out.pop();
    else if (part === ".." && absolute) continue;
    else out.push(part);
  }
  return (absolute ? "/" : "") + out.join("/") || (absolute ? "/" : ".");
}

function naiveTest(pattern: string): (path: string) => boolean {
  let source = "^";
  let type: "exact" | "prefix" | "suffix" | "regexp" = "exact";
  let i = 0;
  for (let turn = 0; i < pattern.length; turn += 1) {
    const c = pattern[i];
    i += 1;
    if (c === "*" && pattern[i] === "*") {
      i += 1;
      if (pattern[i] === "/") i += 1;
      if (i >= pattern.length) {
        if (type === "exact") type = "prefix";
        else {
          source += ".*";
          type = "regexp";
        }
      } else {
        source += "(.*/)?";
        type = "regexp";
      }
      if (turn === 0) type = "suffix";
    } else if (c === "*") {
      source += "[^/]*";
      type = "regexp";
    } else if (c === "?") {
      source += "[^/]";
      type = "regexp";
    } else if (c !== undefined && ".+()|{}$".includes(c)) {
      source += `\\${c}`;
    } else if (c === "\\") {
      if (i < pattern.length) {
        source += `\\${pattern[i]}`;
        i += 1;
        type = "regexp";
      } else source += "\\";
    } else {
      source += c;
      if (c === "[" || c === "]") type = "regexp";
    }
  }
  if (type === "exact") return (path) => path === pattern;
  if (type === "prefix") return (path) => path.startsWith(pattern.slice(0, -2));
  if (type === "suffix") {
    const end = pattern.slice(2);
    return (path) => path.endsWith(end) || (end[0] === "/" && path === end.slice(1));
  }
  const expression = new RegExp(`${source}$`);
  return (path) => expression.test(path);
}
