import type { Span } from "../source.js";
import type { Flag } from "./ast.js";
import { type Escape, quoteEnd } from "./characters.js";
import { type Findings, quoted } from "./diagnostics.js";
import { parseDuration } from "./duration.js";
import { nearest } from "./suggest.js";

/** A flag as written, `--name[=value]`, with its place. */
export interface FlagWord {
  readonly text: string;
  readonly span: Span;
}

interface FlagRule {
  readonly value: "text" | "switch" | "duration" | "count";
  readonly repeats?: true;
}

const TEXT: FlagRule = { value: "text" };
const LIST: FlagRule = { value: "text", repeats: true };
const SWITCH: FlagRule = { value: "switch" };
const DURATION: FlagRule = { value: "duration" };

/** The flags that the language has; which of them a build can do is the builder's business. Source: Dockerfile reference. */
const FLAGS: Readonly<Record<string, Readonly<Record<string, FlagRule>>>> = {
  FROM: { platform: TEXT },
  RUN: { mount: LIST, network: TEXT, security: TEXT, device: LIST },
  COPY: { from: TEXT, chown: TEXT, chmod: TEXT, link: SWITCH, parents: SWITCH, exclude: LIST },
  ADD: {
    chown: TEXT,
    chmod: TEXT,
    link: SWITCH,
    checksum: TEXT,
    "keep-git-dir": SWITCH,
    unpack: SWITCH,
    exclude: LIST,
  },
  HEALTHCHECK: {
    interval: DURATION,
    timeout: DURATION,
    "start-period": DURATION,
    "start-interval": DURATION,
    retries: { value: "count" },
  },
};

/** Their arguments may well begin with dashes. */
const TAKES_DASHES = ["RUN", "CMD", "ENTRYPOINT", "COPY", "ADD"];
const MILLISECOND = 1e6;

/** Turns the flag words of an instruction into flags, and reports the ones that it does not have, that repeat or that are malformed. */
export function readFlags(
  keyword: string,
  words: readonly FlagWord[],
  escape: Escape,
  findings: Findings,
): readonly Flag[] {
  const known = FLAGS[keyword] ?? {};
  const seen = new Set<string>();
  const flags: Flag[] = [];
  for (const { text, span } of words) {
    const flag = split(unquote(text.slice(2), escape), span);
    flags.push(flag);
    const rule = Object.hasOwn(known, flag.name) ? known[flag.name] : undefined;
    if (!rule) {
      reportUnknown(keyword, flag.name, Object.keys(known), span, findings);
      continue;
    }
    if (seen.has(flag.name) && !rule.repeats) {
      findings.error("DuplicateFlag", `${keyword} has the flag --${flag.name} twice`, span);
    }
    seen.add(flag.name);
    const wrong = wrongValue(rule, flag.value);
    if (wrong !== undefined) findings.error("InvalidFlagValue", `--${flag.name} ${wrong}`, span);
  }
  return flags;
}

function reportUnknown(
  keyword: string,
  name: string,
  known: readonly string[],
  span: Span,
  findings: Findings,
): void {
  const hint = findings.isFull() ? undefined : hintForUnknown(keyword, name, known);
  findings.error("UnknownFlag", `${keyword} has no flag ${quoted(`--${name}`)}`, span, hint);
}

function hintForUnknown(keyword: string, name: string, known: readonly string[]): string | undefined {
  const meant = nearest(name, known);
  if (meant !== undefined) return `did you mean --${meant}?`;
  const owner = Object.entries(FLAGS).find(([, flags]) => Object.hasOwn(flags, name))?.[0];
  if (owner !== undefined) return `--${name} is a flag of ${owner}`;
  return TAKES_DASHES.includes(keyword)
    ? `what follows a bare -- is no flag: ${keyword} -- --${name.slice(0, 30)}`
    : undefined;
}

function wrongValue(rule: FlagRule, value: string | undefined): string | undefined {
  if (rule.value === "switch") {
    if (value === undefined || /^(?:true|false)$/i.test(value)) return undefined;
    return `is ${quoted(value)}, it must be true or false`;
  }
  if (value === undefined) return "needs a value";
  if (value === "") return undefined;
  if (rule.value === "count") {
    return /^\+?\d{1,9}$/.test(value) ? undefined : `is ${quoted(value)}, it must be a number of retries`;
  }
  if (rule.value === "text") return undefined;
  const duration = parseDuration(value);
  if (duration === undefined) return `is ${quoted(value)}, it must be a duration such as 30s or 1m30s`;
  return duration > 0 && duration < MILLISECOND
    ? `is ${quoted(value)}, it must be 0 or at least 1ms`
    : undefined;
}

function split(text: string, span: Span): Flag {
  const equals = text.indexOf("=");
  if (equals < 0) return { name: text, span };
  return { name: text.slice(0, equals), value: text.slice(equals + 1), span };
}

/** Quotes and escapes of a flag are the parser's, not the shell's: they go, and variables stay. An unclosed quote runs to the end. */
function unquote(text: string, escape: Escape): string {
  if (!/["'\\`]/.test(text)) return text;
  const parts: string[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? "";
    if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, escape);
      const inner = text.slice(at + 1, close < 0 ? undefined : close);
      parts.push(char === '"' ? unescape(inner, escape) : inner);
      at = close < 0 ? text.length : close;
    } else if (char === escape) parts.push(text[++at] ?? "");
    else parts.push(char);
  }
  return parts.join("");
}

function unescape(text: string, escape: Escape): string {
  return text.replace(escape === "\\" ? /\\([^])/g : /`([^])/g, "$1");
}
