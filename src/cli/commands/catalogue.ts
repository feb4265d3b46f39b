import type { Command } from "../command.js";
import type * as all from "./all.js";

export type CommandName = keyof typeof all;

/** What the help says about every command, in its order. */
export const summaries: Readonly<Record<CommandName, string>> = {
  build: "Build an image from a Containerfile",
  lint: "Check a Containerfile, and mend it",
  parse: "Show what a Containerfile says, and every error in it",
  images: "List images",
  tag: "Give an image another name",
  rmi: "Remove images or names",
  inspect: "Show an image's configuration as JSON",
  "context ls": "List what a build would see, and say why",
  history: "Show the steps that made an image",
  save: "Write images to an archive",
  load: "Read images from an archive",
  run: "Run a command in a fresh container of an image",
  pull: "Fetch an image from a registry",
  push: "Upload an image to a registry",
  login: "Log in to a registry",
  logout: "Forget the credentials of a registry",
  doctor: "Try what isolation needs here, and say what to change",
  version: "Show the version",
};

/** True for a command of one word that there is. */
export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(summaries, name) && !name.includes(" ");
}

/** The code of a command, which nothing loads before. */
export async function loadCommand(name: CommandName): Promise<Command> {
  return (await import("./all.js"))[name];
}

/** Words that need a second one: `cooper image ls` is `cooper images`. */
export const groups: Readonly<Record<string, Readonly<Record<string, CommandName>>>> = {
  context: { list: "context ls", ls: "context ls" },
  image: {
    build: "build",
    history: "history",
    inspect: "inspect",
    list: "images",
    load: "load",
    ls: "images",
    pull: "pull",
    push: "push",
    rm: "rmi",
    save: "save",
    tag: "tag",
  },
};

/** Commands of podman and docker that this version does not have. */
export const unsupportedCommands =
  "attach auto-update buildx commit compose container cp create diff events exec export generate healthcheck import info init " +
  "kill kube logs machine manifest mount network pause play pod port ps rename restart rm search secret start stats stop " +
  "system top unmount unpause unshare untag update volume wait";
