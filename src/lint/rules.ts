import type { Rule, StepRule, TextRule } from "./rule.js";
import { consistentInstructionCasing, fromAsCasing } from "./rules/casing.js";
import { jsonArgsRecommended, multipleInstructionsDisallowed } from "./rules/commands.js";
import { noEmptyContinuation } from "./rules/continuation.js";
import { invalidDefinitionDescription } from "./rules/description.js";
import { exposeInvalidFormat, exposeProtoCasing } from "./rules/expose.js";
import { invalidDefaultArgInFrom, undefinedArgInFrom } from "./rules/from-args.js";
import { heredocBackslash } from "./rules/heredoc-backslash.js";
import { copyIgnoredFile } from "./rules/ignored-file.js";
import { ineffectiveCheck } from "./rules/ineffective-check.js";
import { legacyKeyValueFormat, maintainerDeprecated } from "./rules/old-forms.js";
import {
  fromPlatformFlagConstDisallowed,
  invalidBaseImagePlatform,
  redundantTargetPlatform,
} from "./rules/platforms.js";
import { variableInFromFlag } from "./rules/portable.js";
import { secretsUsedInArgOrEnv } from "./rules/secrets.js";
import { duplicateStageName, reservedStageName, stageNameCasing } from "./rules/stage-names.js";
import { undefinedVar } from "./rules/undefined-var.js";
import { workdirRelativePath } from "./rules/workdir.js";

/** Rules that need nothing but the text. */
export const textRules: readonly TextRule[] = [
  consistentInstructionCasing,
  duplicateStageName,
  fromAsCasing,
  fromPlatformFlagConstDisallowed,
  ineffectiveCheck(() => rules.map(({ name }) => name)),
  invalidDefaultArgInFrom,
  invalidDefinitionDescription,
  maintainerDeprecated,
  noEmptyContinuation,
  redundantTargetPlatform,
  reservedStageName,
  stageNameCasing,
  undefinedArgInFrom,
];

/** Rules about the work of a stage. */
export const stepRules: readonly StepRule[] = [
  copyIgnoredFile,
  exposeInvalidFormat,
  exposeProtoCasing,
  heredocBackslash,
  invalidBaseImagePlatform,
  jsonArgsRecommended,
  legacyKeyValueFormat,
  multipleInstructionsDisallowed,
  secretsUsedInArgOrEnv,
  undefinedVar,
  variableInFromFlag,
  workdirRelativePath,
];

/** Every rule that there is: BuildKit's by name, then ours. */
export const rules: readonly Rule[] = [...textRules, ...stepRules]
  .map(({ rule }) => rule)
  .toSorted((a, b) => (a.origin === b.origin ? compare(a.name, b.name) : a.origin === "BuildKit" ? -1 : 1));

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}
