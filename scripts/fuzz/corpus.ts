import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** What mutations begin with, and pieces that they put in. */
export interface Corpus {
  readonly texts: readonly string[];
  readonly pieces: readonly string[];
}

export type CorpusName = "containerfiles" | "words" | "ignore-files" | "mounts";

const COMMON = ["", " ", "\t", "\n", "\r\n", "'", '"', "\\", "#", "=", ",", "/", "*", "!", "-", "é", "😀"];
const ODD = ["\0", "\ufeff", "\ud800", "\u2028", "\u0085", "\u00a0", "\f", "\v", "\x1b", "`"];

const LANGUAGE = [
  ..."FROM RUN CMD LABEL MAINTAINER EXPOSE ENV ADD COPY ENTRYPOINT VOLUME USER WORKDIR ARG".split(" "),
  ..."STOPSIGNAL HEALTHCHECK SHELL ONBUILD AS NONE scratch -- --a [ ] { }".split(" "),
  ..."--from= --chown= --chmod= --link --platform= --mount=type= --interval=5s --network=".split(" "),
  ...'["a","b"] [" ", <<E <<-E 3<<E <<'.split(" "),
  "<<'E'",
  "\nE\n",
  " \\\n",
  " `\n",
  "# escape=`\n",
  "# check=skip=all\n",
  "# syntax=x\n",
  "\nFROM a AS b\n",
  "\n# c\n",
];
const EXPANSIONS =
  "$ $a ${ } ${a} ${a:-x} ${a:+x} ${a:?x} ${a- ${a#*} ${a##*/} ${a%.*} ${a%%x} ${a/x/y} ${a//x/ ? * [a-z]".split(
    " ",
  );
const IGNORES = "** **/ ! !* [a- ] [^a] ? .. ./ a/b *.o \\* # {a,b} +(a)".split(" ");
const MOUNTS = [
  ..."type= bind cache tmpfs secret ssh target= source= from= id= ro rw=false sharing=locked".split(" "),
  ...'mode=0700 uid=1 size=64m required env=X $a "target=/a,b" =true , "'.split(" "),
];

/** Every Containerfile below fixtures/, and texts and pieces of the smaller languages. */
export function readCorpus(root: string, name: CorpusName): Corpus {
  const files = containerfiles(join(root, "fixtures")).map((path) => readFileSync(path, "utf8"));
  const pieces = [...COMMON, ...ODD];
  const words = files.flatMap((text) => text.split(/\s+/)).filter((word) => word.length < 200);
  switch (name) {
    case "containerfiles":
      return { texts: files, pieces: [...pieces, ...LANGUAGE, ...EXPANSIONS] };
    case "words":
      return {
        texts: unique(words.filter((word) => /["'$\\`]/.test(word))),
        pieces: [...pieces, ...EXPANSIONS],
      };
    case "mounts": {
      const mounts = words.filter((word) => word.startsWith("--mount=")).map((word) => word.slice(8));
      return { texts: unique(mounts), pieces: [...pieces, ...MOUNTS] };
    }
    case "ignore-files":
      return {
        texts: ["*\n!src\n", "**/node_modules\n!a/**/b?c\n", "# c\n[a-z]*\n\\!x\n"],
        pieces: [...pieces, ...IGNORES],
      };
    default:
      return name satisfies never;
  }
}

function containerfiles(dir: string): readonly string[] {
  return readdirSync(dir)
    .toSorted()
    .flatMap((name) => {
      const path = join(dir, name);
      if (statSync(path).isDirectory()) return containerfiles(path);
      return /^(?:Container|Docker)file/.test(name) ? [path] : [];
    });
}

function unique(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)];
}
