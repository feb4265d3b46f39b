import { CooperError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { oneLine } from "../text.js";
import type { World } from "../world.js";
import { registryFlags, transferOptions } from "./registry-flags.js";

const { creds: _creds, ...places } = registryFlags;

const flags = {
  username: { kind: "string", short: "u", value: "NAME", help: "user name" },
  password: {
    kind: "string",
    short: "p",
    value: "PASSWORD",
    help: "password; others on this machine can see it, --password-stdin hides it",
  },
  "password-stdin": { kind: "boolean", help: "read the password from stdin" },
  "get-login": { kind: "boolean", help: "print who is logged in" },
  ...places,
} as const satisfies FlagTable;

export const login = command({
  usage: "[options] HOST",
  flags,
  operands: { min: 1, max: 1 },
  unsupported: "compat-auth-file secret verbose,v",
  run: async ({ flags: given, operands: [host = ""] }, world) => {
    const options = { ...transferOptions(given), signal: world.signal };
    await using cooper = await world.open();
    const known = given.username === undefined ? await cooper.loggedIn(host, options) : undefined;
    if (given["get-login"]) {
      if (known === undefined) throw new CooperError("not-found", `not logged into ${host}`);
      world.stdout.write(`${oneLine(known)}\n`);
      return 0;
    }
    await cooper.login(host, await credentials(given, known, world), options);
    world.stdout.write("Login Succeeded!\n");
    return 0;
  },
});

type Given = Flags<typeof flags>;

async function credentials(
  given: Given,
  known: string | undefined,
  world: World,
): Promise<{ readonly username: string; readonly password: string }> {
  if (given["password-stdin"]) {
    if (given.password !== undefined) throw usage("give --password or --password-stdin, not both");
    if (given.username === undefined) throw usage("--password-stdin needs --username");
    return {
      username: given.username,
      password: notEmpty("password", (await world.stdin.readAll(world.signal)).replace(/\r?\n$/, "")),
    };
  }
  const username = given.username ?? (await askName(known, world));
  return { username, password: given.password ?? (await ask("Password: ", "password", world)) };
}

async function askName(known: string | undefined, world: World): Promise<string> {
  if (known === undefined) return ask("Username: ", "user name", world);
  const typed = await prompt(`Username (${oneLine(known)}): `, false, world);
  return typed === "" ? known : typed;
}

async function ask(question: string, what: "user name" | "password", world: World): Promise<string> {
  return notEmpty(what, await prompt(question, what === "password", world));
}

async function prompt(question: string, secret: boolean, world: World): Promise<string> {
  if (secret && !world.stdin.isTerminal) {
    throw new CooperError("usage", "cannot ask for the password: stdin is not a terminal", {
      hint: "use --username NAME --password-stdin",
    });
  }
  world.stderr.write(question);
  const line = await world.stdin.readLine({ secret, signal: world.signal });
  if (line === undefined) throw usage("the input ended before an answer came");
  return line;
}

function notEmpty(what: string, text: string): string {
  if (text === "") throw usage(`the ${what} is empty`);
  return text;
}
