import { join, resolve } from "node:path";
import type { BuildEngine, BuildPlan } from "../builder/index.js";
import { makePlan, parseCached, readContainerfile, runPlan } from "../builder/index.js";
import type { BuildContext } from "../context/index.js";
import { openContext, readIgnoreFile } from "../context/index.js";
import type { BuildOptions, BuildResult } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { CooperEvent } from "../events.js";
import type { FullReference } from "../image/index.js";
import { formatReference, hostPlatform, localName, parseReference } from "../image/index.js";
import { readXattrs } from "../runtime/index.js";
import type { StoredImage } from "../store/index.js";
import { limiter } from "./limiter.js";
import { findImage } from "./pull.js";
import type { Workshop } from "./workshop.js";

/** Thrown where an unprivileged process meets work that needs a user namespace; never leaves api/. */
export class NeedsPrivileges extends Error {}

/** Builds an image. In a process without privileges it throws NeedsPrivileges at the first step that is not cached. */
export async function build(workshop: Workshop, options: BuildOptions): Promise<BuildResult> {
  const signal = options.signal ?? new AbortController().signal;
  const names = (options.tags ?? []).map((tag) => taggable(tag));
  const contextDir = resolve(options.contextDir);
  const plan = await planOf(workshop, options, contextDir);
  const context = lazyContext(workshop, contextDir);
  try {
    const engine = engineOf(workshop, plan, options, context.get, signal);
    const { image, steps } = await runPlan({
      plan,
      engine,
      useCache: options.cache !== false,
      names: names.map(formatReference),
    });
    for (const output of options.outputs ?? []) {
      requirePrivileges(workshop);
      const { writeOutput } = await import("./output.js");
      await writeOutput(workshop, image, output, names, signal);
    }
    for (const name of names) {
      workshop.store.tag(name, image.id);
      options.onEvent?.({ type: "tagged", name: formatReference(name) });
    }
    return { imageId: image.id, config: image.config, steps };
  } finally {
    context.close();
  }
}

function taggable(tag: string): FullReference {
  const name = parseReference(tag);
  if (name.digest)
    throw new CooperError(
      "invalid-name",
      `cannot tag an image as "${tag}": a name with a digest belongs to the registry`,
    );
  return localName(name);
}

async function planOf(workshop: Workshop, options: BuildOptions, contextDir: string): Promise<BuildPlan> {
  const source = readContainerfile({
    contextDir,
    ...(options.file === undefined ? {} : { file: options.file }),
    ...(options.containerfile === undefined ? {} : { text: options.containerfile }),
  });
  const file = await parseCached(source, join(workshop.root, "cache/ast"));
  for (const { code, message, span } of file.warnings) {
    options.onEvent?.({
      type: "warning",
      code,
      message,
      where: `${source.name}:${span.line}:${span.column}`,
    });
  }
  const buildArgs = new Map<string, string>();
  for (const [name, value] of Object.entries(options.buildArgs ?? {})) {
    const resolved = value ?? process.env[name];
    if (resolved !== undefined) buildArgs.set(name, resolved);
  }
  return makePlan(source, file, {
    buildArgs,
    platform: hostPlatform(),
    labels: options.labels ?? {},
    ...(options.target === undefined ? {} : { target: options.target }),
  });
}

/** The context, read only if a step wants it; its stat cache is saved at the end. */
function lazyContext(
  workshop: Workshop,
  dir: string,
): { readonly get: () => BuildContext; readonly close: () => void } {
  let context: BuildContext | undefined;
  const open = (): BuildContext =>
    openContext({
      dir,
      ignore: readIgnoreFile(dir)?.patterns ?? [],
      statCacheDir: join(workshop.root, "cache/stat"),
      xattrs: readXattrs,
      now: Date.now,
    });
  return {
    get: () => (context ??= open()),
    close: () => {
      context?.saveStatCache();
      context?.[Symbol.dispose]();
    },
  };
}

function engineOf(
  workshop: Workshop,
  plan: BuildPlan,
  options: BuildOptions,
  context: () => BuildContext,
  signal: AbortSignal,
): BuildEngine {
  const bases = new Map<string, Promise<StoredImage>>();
  const baseImage = (name: string): Promise<StoredImage> => {
    const found =
      bases.get(name) ?? findImage(workshop, name, options.pull ?? "missing", { ...options, signal });
    bases.set(name, found);
    return found;
  };
  return {
    store: workshop.store,
    snapshotter: workshop.snapshotter,
    cache: workshop.cache,
    context,
    sandbox: workshop.sandbox,
    baseImage,
    requirePrivileges: () => requirePrivileges(workshop),
    prewarm: () => void workshop.sandbox().then((sandbox) => sandbox.prewarm("host")),
    scratchDir: workshop.scratchDir,
    environment: process.env,
    now: Date.now,
    emit: (event: CooperEvent) => options.onEvent?.(event),
    signal,
    limit: limiter(options.jobs, plan.stages.length),
  };
}

function requirePrivileges(workshop: Workshop): void {
  if (!workshop.privileged) throw new NeedsPrivileges();
}
