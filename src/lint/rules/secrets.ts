import type { Instruction } from "../../parser/index.js";
import type { Span } from "../../source.js";
import type { StepRule } from "../rule.js";

const SECRET = /(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)/i;
const PUBLIC = /(?:^|_)public(?:_|$)/i;

export const secretsUsedInArgOrEnv: StepRule = {
  rule: {
    name: "SecretsUsedInArgOrEnv",
    origin: "BuildKit",
    says: "No ARG or ENV of a stage is named like a secret",
    why: "Its value stays in the image's configuration or history, for everybody who has the image.",
    bad: "FROM busybox\nARG NPM_TOKEN",
    good: "FROM busybox\nRUN --mount=type=secret,id=npm_token cat /run/secrets/npm_token",
    fixes: false,
  },
  *find({ instruction, environment }) {
    for (const { name, span } of namesOf(instruction, (text) => environment.expand(text))) {
      if (!SECRET.test(name) || PUBLIC.test(name)) continue;
      yield {
        rule: "SecretsUsedInArgOrEnv",
        message: `${instruction.kind} ${name} looks like a secret, and everybody who has the image can read it`,
        span,
        hint: "give secrets to a RUN with --mount=type=secret",
      };
    }
  },
};

/** The variables that an instruction sets. */
function namesOf(
  instruction: Instruction,
  expand: (text: string) => string | undefined,
): readonly { readonly name: string; readonly span: Span }[] {
  if (instruction.kind === "ARG") return instruction.args;
  if (instruction.kind !== "ENV") return [];
  return instruction.pairs.map(({ key }) => ({ name: expand(key.text) ?? "", span: key.span }));
}
