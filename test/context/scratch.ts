import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { BuildContext, ContextOptions } from "../../src/context/index.js";
import { openContext } from "../../src/context/index.js";

/** A directory for one test with a context and a place for the stat cache, removed on dispose. */
export interface Scratch extends Disposable {
  readonly root: string;
  readonly dir: string;
  /** Makes a file of the context, and its directories. */
  write(path: string, content?: string): void;
  open(options?: Partial<ContextOptions>): BuildContext;
}

/** The clock of `open` runs an hour ahead, so that every file has settled; pass `now` to have it otherwise. */
export function scratch(): Scratch {
  const root = mkdtempSync(join(tmpdir(), "cooper-context-"));
  const dir = join(root, "context");
  mkdirSync(dir);
  return {
    root,
    dir,
    write(path, content = "") {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), content);
      utimesSync(join(dir, path), 1_700_000_000, 1_700_000_000);
    },
    open: (options) =>
      openContext({
        dir,
        ignore: [],
        statCacheDir: join(root, "stat"),
        xattrs: () => new Map(),
        now: () => Date.now() + 3_600_000,
        ...options,
      }),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}
