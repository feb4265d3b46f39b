import { CooperError, withoutQuery } from "../../errors.js";
import { isRemoteUrl, parseGitSource } from "../../fetch/index.js";
import type { Digest } from "../../image/index.js";
import { isDigest } from "../../image/index.js";

/** Throws `usage` for a `--checksum` that cannot be that of a body. */
export function checkUrlChecksum(text: string): Digest {
  const lower = text.toLowerCase();
  if (isDigest(lower)) return lower;
  throw new CooperError("usage", `--checksum=${text}: for a URL it must be sha256: and 64 hex digits`);
}

/** Throws `usage` for a `--checksum` that no commit begins with. */
export function checkCommitChecksum(text: string): void {
  if (/^[0-9a-f]{1,64}$/i.test(text)) return;
  throw new CooperError(
    "usage",
    `--checksum=${text}: for a git repository it must be a commit in hex digits`,
  );
}

/**
 * Checks what ADD's sources and `--checksum` say of one another. `words` are as far as they are known.
 * Throws `usage`, also for a malformed git source.
 */
export function checkRemotes(words: readonly string[], checksum: string | undefined): void {
  const repositories = words.map((text) => (isRemoteUrl(text) ? parseGitSource(text) : undefined));
  if (checksum === undefined || checksum === "") return;
  const [text = "", ...others] = words;
  if (others.length > 0)
    throw new CooperError("usage", "--checksum is about one source, and there are several", {
      hint: "write an ADD for each of them",
    });
  if (!isRemoteUrl(text))
    throw new CooperError("usage", `--checksum is for URLs and git repositories, and ${text} is neither`);
  if (repositories[0]) checkCommitChecksum(checksum);
  else checkUrlChecksum(checksum);
}

/** Throws `usage` for a source that COPY cannot read. */
export function refuseUrl(text: string): void {
  if (!isRemoteUrl(text)) return;
  throw new CooperError("usage", `COPY cannot fetch ${withoutQuery(text)}`, {
    hint: "ADD takes URLs and git repositories",
  });
}
