import { formatPlatform, hostPlatform, type Platform } from "../../image/index.js";
import { expandWord, type Flag, type FromInstruction } from "../../parser/index.js";
import type { Edit, SourceText } from "../../source.js";
import { flagWord } from "../places.js";
import type { StepRule, TextRule } from "../rule.js";
import { variablesIn } from "../variables.js";
import { globalEnvironment } from "../walk.js";

export const redundantTargetPlatform: TextRule = {
  rule: {
    name: "RedundantTargetPlatform",
    origin: "BuildKit",
    says: "FROM does not say --platform=$TARGETPLATFORM",
    why: "It is what FROM does anyhow.",
    bad: "FROM --platform=$TARGETPLATFORM scratch",
    good: "FROM scratch",
    fixes: true,
  },
  *find(scope) {
    const { source, file, stages } = scope;
    const globals = globalEnvironment(scope, hostPlatform(), new Map());
    const target = globals.value("TARGETPLATFORM");
    for (const { from } of stages) {
      const flag = platformFlag(from);
      const text = flag?.value ?? "";
      if (!flag || !onlyTargetPlatform(text, file.escape, (name) => globals.value(name))) continue;
      if (globals.expand(text) !== target) continue;
      const fix = /^\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(text) ? removal(source, flag) : undefined;
      yield {
        rule: "RedundantTargetPlatform",
        message: `--platform=${text} is what FROM does anyhow`,
        span: flag.span,
        hint: "remove the flag",
        ...(fix ? { fix } : {}),
      };
    }
  },
};

/** Whether $TARGETPLATFORM is the only variable that an expansion looks up. */
function onlyTargetPlatform(
  text: string,
  escape: "\\" | "`",
  value: (name: string) => string | undefined,
): boolean {
  const used = new Set<string>();
  try {
    expandWord(text, (name) => (used.add(name), value(name)), { escape });
  } catch {
    return false;
  }
  return used.size === 1 && used.has("TARGETPLATFORM");
}

/** Takes the flag and the blanks behind it, on its own line only. */
function removal({ text }: SourceText, { span }: Flag): readonly Edit[] | undefined {
  const blanks = /[ \t]+(?=\S)(?!\\[ \t]*\r?\n)/y;
  blanks.lastIndex = span.end;
  return blanks.test(text) ? [{ start: span.start, end: blanks.lastIndex, text: "" }] : undefined;
}

export const fromPlatformFlagConstDisallowed: TextRule = {
  rule: {
    name: "FromPlatformFlagConstDisallowed",
    origin: "BuildKit",
    says: "FROM --platform is not a fixed platform",
    why: "The stage is then the same for every platform that is built for. A stage whose name says its platform is taken to be meant so.",
    bad: "FROM --platform=linux/amd64 scratch AS app",
    good: "FROM --platform=$BUILDPLATFORM scratch AS app",
    fixes: false,
  },
  *find({ source, file, stages }) {
    for (const { from, name = "" } of stages) {
      const flag = platformFlag(from);
      const word = flag && flagWord(source, flag);
      if (
        !word ||
        word.text === "" ||
        variablesIn(word.text, { escape: file.escape, quotes: true }).length > 0
      )
        continue;
      const platform = readPlatform(word.text);
      if (!platform || name.includes(platform.os) || name.includes(platform.architecture)) continue;
      yield {
        rule: "FromPlatformFlagConstDisallowed",
        message: `the platform "${word.text}" is fixed, whatever platform is built for`,
        span: word.span,
        hint: "use $BUILDPLATFORM or an ARG, or say the platform in the stage's name",
      };
    }
  },
};

export const invalidBaseImagePlatform: StepRule = {
  rule: {
    name: "InvalidBaseImagePlatform",
    origin: "BuildKit",
    says: "The base image is for the platform that is wanted",
    why: "Its programs do not run where they are meant to. It happens with images that are for one platform only.",
    bad: "FROM --platform=linux/arm64 registry.example.com/only-amd64 AS arm64",
    good: "FROM --platform=linux/amd64 registry.example.com/only-amd64 AS amd64",
    fixes: false,
  },
  *find({ instruction, environment, facts }) {
    if (instruction.kind !== "FROM") return;
    const flag = platformFlag(instruction);
    const name = environment.expand(instruction.image.text);
    const base = name === undefined ? undefined : facts.base?.(name);
    const wanted = flag ? readPlatform(environment.expand(flag.value ?? "") ?? "") : facts.platform;
    if (!base || !wanted) return;
    const { os, architecture } = base.platform;
    if (os === wanted.os && architecture === wanted.architecture) return;
    yield {
      rule: "InvalidBaseImagePlatform",
      message: `${name} is for ${formatPlatform(base.platform)}, not for ${formatPlatform(wanted)}`,
      span: instruction.image.span,
      hint: "name an image of that platform, or pull it again",
    };
  },
};

function platformFlag({ flags }: FromInstruction): Flag | undefined {
  return flags.find(({ name }) => name === "platform");
}

const ALIASES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  aarch64: "arm64",
  i386: "386",
  armhf: "arm",
  armel: "arm",
};

/** `os/arch[/variant]`, or one of os and arch alone. Source: containerd platforms, `Parse`. */
function readPlatform(text: string): Platform | undefined {
  if (!/^[\w.-]+(?:\/[\w.-]+){0,2}$/.test(text)) return undefined;
  const [first = "", second] = text.toLowerCase().split("/");
  const host = hostPlatform();
  const known = (name: string): string => ALIASES[name] ?? name;
  if (second !== undefined) return { os: first, architecture: known(second) };
  const isSystem = ["linux", "windows", "darwin", "freebsd"].includes(first);
  return isSystem ? { ...host, os: first } : { os: host.os, architecture: known(first) };
}
