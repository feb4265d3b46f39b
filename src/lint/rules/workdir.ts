import type { StepRule } from "../rule.js";

export const workdirRelativePath: StepRule = {
  rule: {
    name: "WorkdirRelativePath",
    origin: "BuildKit",
    says: "The first WORKDIR of a stage is an absolute path",
    why: "A relative one depends on the working directory of the base image, which can change with any new version of it.",
    bad: "FROM busybox\nWORKDIR app",
    good: "FROM busybox\nWORKDIR /app",
    fixes: false,
  },
  *find({ instruction, environment }) {
    if (instruction.kind !== "WORKDIR" || environment.workdirSet) return;
    const { text, span } = instruction.value;
    const path = environment.expand(text);
    if (path === undefined || path.startsWith("/")) return;
    yield {
      rule: "WorkdirRelativePath",
      message: `the relative path "${path}" depends on the working directory of the base image`,
      span,
      hint: "begin the path with /",
    };
  },
};
