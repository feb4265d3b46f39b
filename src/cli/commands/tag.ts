import { command } from "../command.js";

export const tag = command({
  usage: "IMAGE NAME [NAME...]",
  flags: {},
  operands: { min: 2 },
  run: async ({ operands: [image = "", ...names] }, world) => {
    await using cooper = await world.open();
    await cooper.tag(image, names);
    return 0;
  },
});
