/**
 * A test for patterns of ASCII literals and single stars, bytes on both sides; undefined for any other pattern. Each
 * part between stars is taken where it first occurs: since a star takes no "/", an earlier place never rules out what a
 * later one allows. Cost: the length of the path, and what `indexOf` takes for the parts.
 */
export function starMatch(pattern: string): ((path: string) => boolean) | undefined {
  // oxlint-disable-next-line no-control-regex -- the range is what "ASCII" means
  if (!/^[\0-\x7f]*$/.test(pattern) || /[?[\]\\^]|\*\*/.test(pattern)) return undefined;
  const [head = "", ...rest] = pattern.split("*");
  const tail = rest.pop();
  if (tail === undefined) return undefined;
  return (path) => {
    if (!path.startsWith(head) || !path.endsWith(tail)) return false;
    let at = head.length;
    let slash = path.indexOf("/", at);
    for (const part of rest) {
      if (slash >= 0 && slash < at) slash = path.indexOf("/", at);
      const found = path.indexOf(part, at);
      if (found < 0 || (slash >= 0 && slash < found)) return false;
      at = found + part.length;
    }
    if (slash >= 0 && slash < at) slash = path.indexOf("/", at);
    const end = path.length - tail.length;
    return at <= end && (slash < 0 || slash >= end);
  };
}
