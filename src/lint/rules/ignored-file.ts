import type { StepRule } from "../rule.js";

const REMOTE = /^(?:[a-z][a-z0-9+.-]*:\/\/|git@)/i;

export const copyIgnoredFile: StepRule = {
  rule: {
    name: "CopyIgnoredFile",
    origin: "BuildKit",
    says: "COPY and ADD name nothing that the ignore file hides",
    why: "What is hidden is not there to be copied: the step fails, or copies less than it says.",
    bad: "FROM scratch\nCOPY node_modules /app/node_modules",
    good: "FROM scratch\nCOPY package.json /app/",
    fixes: false,
    experimental: true,
  },
  *find({ instruction, environment, facts }) {
    if ((instruction.kind !== "COPY" && instruction.kind !== "ADD") || !facts.ignores) return;
    if (instruction.flags.some(({ name }) => name === "from")) return;
    for (const { text, span } of instruction.sources) {
      const path = environment.expand(text);
      if (path === undefined || path === "" || REMOTE.test(path) || !facts.ignores(path)) continue;
      yield {
        rule: "CopyIgnoredFile",
        message: `the ignore file hides "${path}"`,
        span,
        hint: "take it out of the ignore file, or re-include it there with !",
      };
    }
  },
};
