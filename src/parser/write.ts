import { unreachable } from "../errors.js";
import type { Command, Flag, Instruction, Word } from "./ast.js";
import { type Escape, isBlank } from "./characters.js";

/** One instruction on one line in its plainest form, without heredoc bodies; `text` and `trigger` are not looked at. */
export function writeInstruction(instruction: Instruction, escape: Escape): string {
  const flags = instruction.flags.map((flag) => writeFlag(flag, escape));
  const rest = writeArguments(instruction, escape);
  const endOfFlags = rest.startsWith("--") ? ["--"] : [];
  return [instruction.kind, ...flags, ...endOfFlags, rest].join(" ");
}

function writeArguments(instruction: Instruction, escape: Escape): string {
  switch (instruction.kind) {
    case "FROM": {
      const { image, alias } = instruction;
      return alias ? `${image.text} AS ${alias.text}` : image.text;
    }
    case "RUN":
    case "CMD":
    case "ENTRYPOINT":
      return writeCommand(instruction.command);
    case "COPY":
    case "ADD": {
      const { sources, destination, heredocs, json } = instruction;
      const openers = heredocs.map(({ opener }) => opener);
      if (openers.length === 0) return writeWords([...sources, destination], json);
      return [...sources.map(({ text }) => text), ...openers, destination.text].join(" ");
    }
    case "ENV":
    case "LABEL":
      return instruction.pairs
        .map(({ key, value }) => `${key.text}${instruction.legacy ? " " : "="}${value.text}`)
        .join(" ");
    case "ARG":
      return instruction.args
        .map((arg) => (arg.default ? `${arg.name}=${arg.default.text}` : arg.name))
        .join(" ");
    case "WORKDIR":
    case "USER":
    case "STOPSIGNAL":
    case "MAINTAINER":
      return instruction.value.text;
    case "EXPOSE":
    case "VOLUME":
      return writeWords(instruction.words, instruction.json);
    case "SHELL":
      return writeArray(instruction.argv);
    case "HEALTHCHECK":
      return instruction.command ? `CMD ${writeCommand(instruction.command)}` : "NONE";
    case "ONBUILD":
      return writeInstruction(instruction.instruction, escape);
    default:
      return unreachable(instruction);
  }
}

function writeFlag({ name, value }: Flag, escape: Escape): string {
  if (value === undefined) return `--${name}`;
  const protect = (char: string): string =>
    isBlank(char.charCodeAt(0)) || `'"${escape}`.includes(char) ? escape + char : char;
  return `--${name}=${Array.from(value, protect).join("")}`;
}

function writeCommand(command: Command): string {
  return command.form === "exec" ? writeArray(command.argv) : command.text;
}

function writeWords(words: readonly Word[], json: boolean): string {
  const texts = words.map(({ text }) => text);
  return json ? writeArray(texts) : texts.join(" ");
}

function writeArray(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}
