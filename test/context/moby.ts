/**
 * BuildKit's walk over a context as its documentation and source describe it, written anew and naively for comparison:
 * every pattern becomes a JavaScript regular expression, and every directory on the way remembers for each pattern
 * whether it counted there. A pattern that would not change what was decided so far does not count. Only for ASCII, and
 * for paths without newlines where the expression has a dot.
 */
export function naiveIgnores(patterns: readonly string[], path: string): boolean {
  const tests = patterns.map((raw) => {
    const pattern = clean(raw.trim());
    const negative = pattern.startsWith("!");
    return { negative, test: naiveTest(negative ? pattern.slice(1) : pattern), blank: raw.trim() === "" };
  });
  const parts = path.split("/");
  let counted = patterns.map(() => false);
  let ignored = false;
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const at = parts.slice(0, depth).join("/");
    ignored = false;
    counted = tests.map(({ negative, test, blank }, i) => {
      const counts = counted[i] === true || (!blank && negative === ignored && test(at));
      if (counts) ignored = !negative;
      return counts;
    });
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
