import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { openCooper } from "../../src/index.js";
import type { BuildOptions, BuildResult, Cooper, CooperEvent } from "../../src/index.js";

/** A file of a context: its text, or text with a mode. */
export type LabFile = string | { readonly text: string; readonly mode: number };

export interface LabBuild {
  readonly result: BuildResult;
  readonly events: readonly CooperEvent[];
  /** Texts of the steps that were built, then of those that were cached. */
  readonly built: readonly string[];
  readonly cached: readonly string[];
  /** What cache-miss events said, by step text. */
  readonly reasons: ReadonlyMap<string, string>;
  /** All RUN output, decoded. */
  readonly output: string;
}

/** A store and a context directory of their own, both removed on dispose. */
export interface Lab extends AsyncDisposable {
  readonly dir: string;
  readonly context: string;
  readonly cooper: Cooper;
  write(files: Readonly<Record<string, LabFile>>): void;
  build(containerfile: string, options?: Partial<BuildOptions>): Promise<LabBuild>;
  /** The built image's root file system as plain files; a new directory each time. */
  extract(build: LabBuild, containerfile: string): Promise<string>;
}

export const BUSYBOX = "/bin/busybox";

/** A Containerfile that makes `FROM scratch` runnable: busybox with its applets. */
export const BUSYBOX_BASE = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
`;

export async function openLab(): Promise<Lab> {
  const dir = mkdtempSync(join(tmpdir(), "cooper-lab-"));
  const context = join(dir, "context");
  mkdirSync(context);
  if (existsSync(BUSYBOX)) copyFileSync(BUSYBOX, join(context, "busybox"));
  const cooper = await openCooper({ root: join(dir, "root") });
  let outputs = 0;
  const write = (files: Readonly<Record<string, LabFile>>): void => {
    for (const [name, file] of Object.entries(files)) {
      const path = join(context, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, typeof file === "string" ? file : file.text);
      chmodSync(path, typeof file === "string" ? 0o644 : file.mode);
    }
  };
  const build = (containerfile: string, options: Partial<BuildOptions> = {}): Promise<LabBuild> =>
    recorded(cooper, { contextDir: context, containerfile, ...options });
  return {
    dir,
    context,
    cooper,
    write,
    build,
    extract: async (_build, containerfile) => {
      outputs += 1;
      const dest = join(dir, `out-${outputs}`);
      await build(containerfile, { outputs: [{ type: "local", dest }] });
      return dest;
    },
    async [Symbol.asyncDispose]() {
      await cooper[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function recorded(cooper: Cooper, options: BuildOptions): Promise<LabBuild> {
  const events: CooperEvent[] = [];
  const result = await cooper.build({
    ...options,
    onEvent: (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
  });
  return { result, events, ...digestEvents(events) };
}

function digestEvents(events: readonly CooperEvent[]): Omit<LabBuild, "result" | "events"> {
  const texts = new Map<string, string>();
  const at = (step: { stage: number; index: number }): string =>
    texts.get(`${step.stage}/${step.index}`) ?? "";
  const built: string[] = [];
  const cached: string[] = [];
  const reasons = new Map<string, string>();
  const chunks: Uint8Array[] = [];
  for (const event of events) {
    if (event.type === "step-start") texts.set(`${event.step.stage}/${event.step.index}`, event.text);
    if (event.type === "step-end") (event.outcome === "built" ? built : cached).push(at(event.step));
    if (event.type === "cache-miss") reasons.set(at(event.step), event.reason);
    if (event.type === "output") chunks.push(event.chunk);
  }
  return { built, cached, reasons, output: Buffer.concat(chunks).toString("utf8") };
}
