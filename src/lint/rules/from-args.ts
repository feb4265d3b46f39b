import { hostPlatform, parseReference } from "../../image/index.js";
import { nearest } from "../../parser/index.js";
import { flagWord, partOf } from "../places.js";
import type { TextRule, TextScope } from "../rule.js";
import { variablesIn } from "../variables.js";
import { globalEnvironment } from "../walk.js";

export const undefinedArgInFrom: TextRule = {
  rule: {
    name: "UndefinedArgInFrom",
    origin: "BuildKit",
    says: "The variables of a FROM are declared by an ARG before the first FROM",
    why: "FROM sees only those ARGs and the platform's; any other variable is empty there, even with --build-arg.",
    bad: "FROM busybox:$VERSION",
    good: "ARG VERSION=1.36\nFROM busybox:$VERSION",
    fixes: false,
  },
  *find(scope) {
    const { source, file, stages } = scope;
    const declared = declaredNames(scope);
    for (const { from } of stages) {
      const platform = from.flags.find(({ name }) => name === "platform");
      const word = platform && flagWord(source, platform);
      for (const text of [...(word ? [word] : []), from.image]) {
        for (const { name, start, end } of variablesIn(text.text, { escape: file.escape, quotes: true })) {
          if (declared.has(name)) continue;
          const meant = declared.size > MOST_NAMES ? undefined : nearest(name, [...declared]);
          yield {
            rule: "UndefinedArgInFrom",
            message: `no ARG before the first FROM declares ${name}`,
            span: partOf(source, text, start, end),
            hint: meant === undefined ? `write ARG ${name} before the first FROM` : `did you mean ${meant}?`,
          };
        }
      }
    }
  },
};

/** Among more names none is looked for: it would cost more than the hint is worth. */
const MOST_NAMES = 1000;

function declaredNames(scope: TextScope): ReadonlySet<string> {
  const names = new Set(globalEnvironment(scope, hostPlatform(), new Map()).names());
  for (const instruction of scope.globals) {
    if (instruction.kind === "ARG") for (const { name } of instruction.args) names.add(name);
  }
  return names;
}

export const invalidDefaultArgInFrom: TextRule = {
  rule: {
    name: "InvalidDefaultArgInFrom",
    origin: "BuildKit",
    says: "FROM names an image also without any --build-arg",
    why: "A file that builds only with the right --build-arg fails for everybody who does not know it.",
    bad: "ARG VERSION\nFROM busybox:$VERSION",
    good: "ARG VERSION=latest\nFROM busybox:$VERSION",
    fixes: false,
  },
  *find(scope) {
    const globals = globalEnvironment(scope, hostPlatform(), new Map());
    const names = new Set<string>();
    for (const { from, name } of scope.stages) {
      const { text, span } = from.image;
      const image = globals.expand(text);
      const found = image !== undefined && (names.has(image) || isImageName(image));
      if (name !== undefined) names.add(name);
      if (found) continue;
      const known = image === undefined ? "" : names.has(image.toLowerCase()) ? image.toLowerCase() : "";
      yield {
        rule: "InvalidDefaultArgInFrom",
        message:
          image === undefined || image === ""
            ? `the image name "${text}" is empty unless a --build-arg fills it in`
            : `"${image}" is no valid image name`,
        span,
        hint:
          known === ""
            ? "give the ARG a default that makes a whole image name"
            : `BuildKit knows the stage only as ${known}`,
      };
    }
  },
};

function isImageName(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch {
    return false;
  }
}
