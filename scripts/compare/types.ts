/** Facts by name, e.g. `mode` → `0644`. What is not there is not written down. */
export type Attributes = Readonly<Record<string, string>>;

/**
 * What an image is, in comparable form: by path (`/bin/sh`) what lies there (`type`, `mode`, `owner`, `content`, `target`,
 * `device`, `links`, `xattr NAME`, `time`), and by name what its config says. Type `removed`: the base has it, the image not.
 */
export interface ImageFacts {
  readonly tree: Readonly<Record<string, Attributes>>;
  readonly config: Attributes;
}

/** How a build ended. Broken: the tool built an image that it then could not hand out. */
export type Outcome =
  | { readonly kind: "built"; readonly layout: string }
  | { readonly kind: "rejected" | "broken"; readonly message: string };

export interface BuildRequest {
  readonly file: string;
  readonly contextDir: string;
  readonly target?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Named contexts: name → directory. */
  readonly contexts?: Readonly<Record<string, string>>;
  /** Keeps the image under this name, for a later `FROM`. */
  readonly tag?: string;
  /** Where the image is written, in one of the forms that layout.ts reads. */
  readonly dest: string;
}

/** One tool that builds. */
export interface Builder {
  readonly name: string;
  /** With its version, as people say it. */
  readonly title: string;
  /** Makes the image of an OCI archive known under a name. */
  load(name: string, ociArchive: string): Promise<void>;
  build(request: BuildRequest): Promise<Outcome>;
  /** What this tool alone adds to every config, removed. */
  withoutOwn(config: Attributes): Attributes;
  close(): Promise<void>;
}
