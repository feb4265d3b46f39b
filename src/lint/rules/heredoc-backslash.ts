import { bodiesOf } from "../places.js";
import type { StepRule } from "../rule.js";

export const heredocBackslash: StepRule = {
  rule: {
    name: "HeredocBackslash",
    origin: "cooper",
    says: "The files that COPY and ADD make of heredocs keep their backslashes",
    why: "With an unquoted delimiter variables are filled in, and every backslash vanishes but those before another one: other than in a shell, also before letters, quotes and line ends.",
    bad: 'FROM scratch\nCOPY <<EOF /digits.sh\ngrep "\\d" file\nEOF',
    good: 'FROM scratch\nCOPY <<"EOF" /digits.sh\ngrep "\\d" file\nEOF',
    fixes: false,
  },
  *find({ source, instruction }) {
    if (instruction.kind !== "COPY" && instruction.kind !== "ADD") return;
    for (const { heredoc, place } of bodiesOf(source, instruction.heredocs)) {
      const lost = heredoc.expand ? lostBackslashes(heredoc.body) : [];
      const [first] = lost;
      if (first === undefined) continue;
      const next = heredoc.body[first + 1] ?? "";
      const others = lost.length === 1 ? "" : `, and ${lost.length - 1} more`;
      yield {
        rule: "HeredocBackslash",
        message: `the backslash before ${next === "\n" ? "the line end" : next} vanishes from the file${others}`,
        span: place(first, first + 1),
        hint: `quote the delimiter, as in <<"${heredoc.name}", to fill in nothing, or write \\\\`,
      };
    }
  },
};

/**
 * Where backslashes stand that protect nothing: outside of `${…}`, not before `$` or a backslash, nor before a
 * backtick, which shells would want protected.
 */
function lostBackslashes(body: string): readonly number[] {
  const found: number[] = [];
  let depth = 0;
  for (let at = 0; at < body.length; at++) {
    const char = body[at];
    if (char === "\\") {
      if (depth === 0 && !"$\\`".includes(body[at + 1] ?? "")) found.push(at);
      at++;
    } else if (char === "$" && body[at + 1] === "{") depth++;
    else if (char === "}" && depth > 0) depth--;
  }
  return found;
}
