import type { Digest } from "../image/index.js";

export interface FetchOptions {
  readonly signal?: AbortSignal;
  /** Told before a request is tried again. */
  readonly notice?: (message: string) => void;
}

export interface DownloadOptions extends FetchOptions {
  /** What the body must hash to. */
  readonly checksum?: Digest;
  /** Largest body that is accepted, bytes; no more than the Fetcher's own limit. */
  readonly maxSize?: number;
}

/** A body that was received whole; the file is ours until the Fetcher is closed, and read-only. */
export interface Download {
  readonly path: string;
  /**
   * A safe base name: the last component of the URL's path as it was given; undefined when there is none. Neither a
   * redirect nor `Content-Disposition` can change it, as in BuildKit.
   */
  readonly name: string | undefined;
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
  /** ms since 1970, from `Last-Modified`. */
  readonly modified: number | undefined;
}

/** A git repository named in a Containerfile or on the command line. Source: BuildKit, "Git URLs". */
export interface GitSource {
  /** What `git` is given: no fragment, no query of ours. */
  readonly url: string;
  /** Branch, tag, commit or full ref; undefined: the remote's HEAD. */
  readonly ref: string | undefined;
  /** Directory inside the repository, clean and relative; undefined: its root. */
  readonly subdir: string | undefined;
  /** What the commit (or the annotated tag that names it) must begin with, hex digits; undefined: anything. */
  readonly checksum: string | undefined;
  /** `?keep-git-dir=`; undefined: not said. */
  readonly keepGitDir: boolean | undefined;
  /** False only after `?submodules=false`. */
  readonly submodules: boolean;
}

export interface CheckoutOptions extends FetchOptions {
  /** An existing empty directory that becomes the work tree (of the whole repository; the caller takes `subdir`). */
  readonly dest: string;
  readonly keepGitDir: boolean;
}

/** Gets what lies outside the build context: URLs and git repositories. */
export interface Fetcher extends AsyncDisposable {
  /**
   * GET over http or https. An unchanged body (ETag, Last-Modified) is not sent again. Throws `network`, `not-found`
   * (404, 410), `denied`, and `corrupt` when the checksum is another.
   */
  download(url: string, options?: DownloadOptions): Promise<Download>;
  /**
   * The commit (40 or 64 hex digits) that a source's ref means now; nothing is cloned unless the ref is an abbreviated
   * commit. Throws `not-found`, `network`, and `corrupt` when it does not begin with the source's checksum.
   */
  resolve(source: GitSource, options?: FetchOptions): Promise<string>;
  /** Writes the work tree of a commit, submodules included. Throws `not-found`, `network`, `io`. */
  checkout(source: GitSource, commit: string, options: CheckoutOptions): Promise<void>;
}
