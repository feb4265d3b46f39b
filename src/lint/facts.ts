import type { Platform } from "../image/index.js";
import type { FromInstruction } from "../parser/index.js";

/** What is known of an image that a FROM names. */
export interface BaseFacts {
  readonly platform: Platform;
  /** Missing where it is not known what a stage of it begins with. */
  readonly env?: ReadonlyMap<string, string>;
  /** Whether its config has a SHELL. */
  readonly hasShell: boolean;
}

/** What the text alone does not say. What is missing is unknown, and rules that need it are silent. */
export interface LintFacts {
  readonly buildArgs?: ReadonlyMap<string, string>;
  /** The platform that is built for. */
  readonly platform: Platform;
  /** An image by the name in FROM, variables filled in; undefined: nothing is known of it. */
  readonly base?: (name: string) => BaseFacts | undefined;
  /** Whether the ignore file hides a path of the context and everything below it. */
  readonly ignores?: (path: string) => boolean;
  /** False for a stage that is left out: rules about the work of a stage are silent there. Default: all are built. */
  readonly isBuilt?: (stage: FromInstruction) => boolean;
}
