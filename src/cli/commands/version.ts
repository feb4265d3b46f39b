import { command } from "../command.js";

export const version = command({
  usage: "",
  flags: {},
  operands: { min: 0, max: 0 },
  unsupported: "format,f",
  run: (_line, world) => {
    const rows = [
      ["Version:", world.version],
      ["Node.js:", process.version],
      ["OS/Arch:", `${process.platform}/${process.arch}`],
    ];
    world.stdout.write(rows.map(([name = "", value = ""]) => `${name.padEnd(10)}${value}\n`).join(""));
    return Promise.resolve(0);
  },
});
