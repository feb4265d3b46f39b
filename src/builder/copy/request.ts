import type { CopyInstruction, Flag } from "../../parser/index.js";
import { expandHeredoc } from "../../parser/index.js";
import type { Expansion } from "../expand.js";
import { expandAt } from "../expand.js";
import type { StageState } from "../state.js";
import { absolutePath, lookupIn } from "../state.js";
import type { Chmod } from "./chmod.js";
import { parseChmod } from "./chmod.js";

/** A file that a heredoc of COPY or ADD makes. */
export interface HeredocFile {
  readonly name: string;
  readonly content: string;
}

/** Everything a COPY or ADD says, expanded; flags that were given empty are not there. */
export interface CopyRequest {
  readonly verb: "COPY" | "ADD";
  readonly words: readonly string[];
  readonly heredocs: readonly HeredocFile[];
  /** Absolute path in the image, with its trailing slash if the user wrote one. */
  readonly destination: string;
  /** As written. */
  readonly from: string;
  readonly chown?: string;
  readonly chmod?: Chmod;
  readonly chmodText?: string;
  readonly checksum?: string;
  /** Patterns, as written: BuildKit expands no variables in them. */
  readonly exclude: readonly string[];
  readonly parents: boolean;
  /** Whether `--link` is in force; `--chmod` turns it off, as in BuildKit. */
  readonly link: boolean;
  readonly keepGitDir?: boolean;
  readonly unpack?: boolean;
}

/** Throws `syntax` and `usage` with the place in the instruction. */
export function requestOf(instruction: CopyInstruction, state: StageState, at: Expansion): CopyRequest {
  const lookup = lookupIn(state);
  const given = (name: string): Flag | undefined => instruction.flags.find((flag) => flag.name === name);
  const text = (name: string): string | undefined => {
    const flag = given(name);
    if (flag?.value === undefined) return undefined;
    return expandAt(at.source, { text: flag.value, span: flag.span }, at.escape, lookup) || undefined;
  };
  const [chown, chmodText, checksum] = [text("chown"), text("chmod"), text("checksum")];
  const [keepGitDir, unpack] = [switchOf(given("keep-git-dir")), switchOf(given("unpack"))];
  return {
    verb: instruction.kind,
    words: instruction.sources.map((word) => expandAt(at.source, word, at.escape, lookup)),
    heredocs: instruction.heredocs.map((heredoc) => ({
      name: heredoc.name,
      content: heredoc.expand ? expandHeredoc(heredoc.body, lookup) : heredoc.body,
    })),
    destination: absolutePath(
      state.config.config,
      expandAt(at.source, instruction.destination, at.escape, lookup),
    ),
    from: given("from")?.value ?? "",
    ...(chown === undefined ? {} : { chown }),
    ...(chmodText === undefined ? {} : { chmodText, chmod: parseChmod(chmodText) }),
    ...(checksum === undefined ? {} : { checksum }),
    exclude: excludesOf(instruction),
    parents: switchOf(given("parents")) ?? false,
    link: chmodText === undefined && (switchOf(given("link")) ?? false),
    ...(keepGitDir === undefined ? {} : { keepGitDir }),
    ...(unpack === undefined ? {} : { unpack }),
  };
}

/** The patterns of `--exclude`; an empty one excludes nothing. */
export function excludesOf(instruction: CopyInstruction): readonly string[] {
  return instruction.flags.flatMap(({ name, value }) =>
    name === "exclude" && value !== undefined && value !== "" ? [value] : [],
  );
}

/** `--name`, `--name=true`, `--name=false`. */
function switchOf(flag: Flag | undefined): boolean | undefined {
  return flag && flag.value?.toLowerCase() !== "false";
}
