import { flagWord, partOf } from "../places.js";
import type { StepRule } from "../rule.js";
import { variablesIn } from "../variables.js";

export const variableInFromFlag: StepRule = {
  rule: {
    name: "VariableInFromFlag",
    origin: "cooper",
    says: "COPY --from and RUN --mount from= name a stage or image without variables",
    why: "Other builders refuse variables there. A FROM may have them, and a stage of it may be copied from.",
    bad: "ARG TOOLS=busybox\nFROM scratch\nARG TOOLS\nCOPY --from=$TOOLS /bin/sh /bin/sh",
    good: "ARG TOOLS=busybox\nFROM $TOOLS AS tools\nFROM scratch\nCOPY --from=tools /bin/sh /bin/sh",
    fixes: false,
  },
  *find({ source, instruction, environment }) {
    const { kind, flags } = instruction;
    if (kind !== "COPY" && kind !== "RUN") return;
    for (const flag of flags) {
      const word = flag.name === (kind === "COPY" ? "from" : "mount") ? flagWord(source, flag) : undefined;
      if (!word) continue;
      const from = kind === "COPY" ? ([0, word.text.length] as const) : fromOfMount(word.text);
      const text = word.text.slice(...from);
      const [variable] = variablesIn(text, { escape: environment.escape, quotes: false });
      if (!variable) continue;
      yield {
        rule: "VariableInFromFlag",
        message: `${kind} ${kind === "COPY" ? "--from" : "--mount from="} with a variable works in no other builder`,
        span: partOf(source, word, from[0] + variable.start, from[1]),
        hint: `write FROM ${text} AS name before this stage, and use that name here`,
      };
    }
  },
};

/** The range of the value of `from=` in a mount; an empty one when there is none. */
function fromOfMount(text: string): readonly [number, number] {
  const found = /(?:^|,)from=([^,]*)/di.exec(text)?.indices?.[1];
  return found ?? [0, 0];
}
