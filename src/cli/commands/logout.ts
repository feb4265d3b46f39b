import type { FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { oneLine } from "../text.js";

const flags = {
  all: { kind: "boolean", short: "a", help: "forget the credentials of every registry" },
  authfile: { kind: "string", value: "FILE", help: "the file to remove them from" },
} as const satisfies FlagTable;

export const logout = command({
  usage: "[options] HOST",
  flags,
  operands: { min: 0, max: 1 },
  unsupported: "compat-auth-file",
  run: async ({ flags: given, operands: [host] }, world) => {
    if ((host === undefined) === !given.all) throw usage("cooper logout: give one HOST, or --all");
    const options = given.authfile === undefined ? {} : { authFile: given.authfile };
    await using cooper = await world.open();
    await cooper.logout(host ?? "all", options);
    world.stdout.write(
      `Removed login credentials for ${host === undefined ? "all registries" : oneLine(host)}\n`,
    );
    return 0;
  },
});
