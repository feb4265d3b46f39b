import { join } from "node:path";
import type {
  BuildEngine,
  BuildPlan,
  ContainerfileText,
  ImageTimes,
  OnFailure,
  ParsedContainerfile,
  RunSettings,
} from "../builder/index.js";
import {
  EPOCH_ARG,
  imageTimes,
  makePlan,
  parseCached,
  readContainerfile,
  runPlan,
  withTimes,
} from "../builder/index.js";
import type { BuildContext } from "../context/index.js";
import { findIgnoreFile } from "../context/index.js";
import type { BuildOptions, BuildResult } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import type { CooperEvent } from "../events.js";
import type { FullReference, Platform } from "../image/index.js";
import {
  formatPlatform,
  formatReference,
  hostPlatform,
  localName,
  parsePlatform,
  parseReference,
  platformMatches,
} from "../image/index.js";
import type { SandboxNotice } from "../runtime/index.js";
import type { SourceText } from "../source.js";
import type { StoredImage } from "../store/index.js";
import { warnOfFindings } from "./build-warnings.js";
import { containerfileLocation, ignorePlaces } from "./context.js";
import type { BuildSource } from "./context-source.js";
import { failureOptions } from "./failure-options.js";
import type { WithTexts } from "./given-texts.js";
import { withTexts } from "./given-texts.js";
import { ignoredPaths } from "./ignored.js";
import type { Isolation } from "./isolation.js";
import { openIsolation } from "./isolation.js";
import { lazyContext } from "./lazy-context.js";
import type { Leases } from "./leases.js";
import { openLeases } from "./leases.js";
import { entitlements } from "./network-settings.js";
import { limiter } from "./limiter.js";
import { outlookOf } from "./outlook.js";
import type { NamedContexts } from "./named-contexts.js";
import { LAYOUT, namedContexts } from "./named-contexts.js";
import { requirePrivileges } from "./privileges.js";
import { findImage } from "./pull.js";
import { ownIds, runSettings } from "./run-settings.js";
import { openSecrets } from "./secrets.js";
import { openSshAgents } from "./ssh-agents.js";
import { openVolumes, parseVolumes } from "./volumes.js";
import { stepNetworks } from "./step-network.js";
import type { StepNetworks } from "./step-network.js";
import type { Workshop } from "./workshop.js";
import { hasSingleId } from "./workshop.js";

/** Builds an image. In a process without privileges it throws NeedsPrivileges at the first step that is not cached. */
export async function build(workshop: Workshop, given: BuildOptions): Promise<BuildResult> {
  const signal = given.signal ?? new AbortController().signal;
  const onFailure = failureOptions(given);
  const names = (given.tags ?? []).map((tag) => taggable(tag));
  const read = await withTexts(workshop, given);
  await using fetched = read.context === undefined ? undefined : await openSource(workshop, read);
  const options = fetched?.options ?? read;
  const buildArgs = buildArgsOf(options);
  const times = timesOf(options, buildArgs);
  const contexts = namedContexts(workshop, options);
  const source: ContainerfileText = fetched?.source ?? readContainerfile(containerfileLocation(options));
  const { plan, parsed } = await planOf(workshop, source, options, { buildArgs, contexts });
  const places = ignorePlaces(options, source.path);
  // One that is named must be there, even for a build that reads no context.
  if (places.ignoreFile !== undefined) findIgnoreFile(places);
  const useIgnoreFile = fetched === undefined || options.ignoreFile !== undefined;
  const context = lazyContext(workshop, places, options.onEvent, { useIgnoreFile });
  const secret = openSecrets(options.secrets);
  const volumes = parseVolumes(options.volumes ?? []);
  await using agents = openSshAgents(options.ssh, workshop.scratchDir);
  await using leases = openLeases(workshop.store);
  const isolation = openIsolation(workshop, options, options.onEvent);
  await using networks = stepNetworks(isolation, (event) => options.onEvent?.(event));
  try {
    const settings = runSettings(options, workshop.privileged);
    await using _ids = ownIds(settings);
    const engine = engineOf(workshop, plan, options, {
      settings,
      context: context.get,
      contexts,
      leases,
      isolation,
      networks,
      onFailure,
      signal,
      times,
      secret,
      agent: agents.socket,
      outlook: outlookOf(workshop, isolation, options, { settings, volumes }),
      volumes: () => openVolumes(volumes, workshop.scratchDir),
    });
    const { baseImage, emit } = engine;
    const ignores = useIgnoreFile ? ignoredPaths(places) : () => false;
    await warnOfFindings({ parsed, plan, baseImage, emit, ignores });
    const { image, steps } = await explained(
      runPlan({
        plan,
        engine,
        useCache: options.cache !== false,
        names: names.map(formatReference),
        ...(options.format === undefined ? {} : { format: options.format }),
        ...(options.platform === undefined ? {} : { platform: plan.platform }),
      }),
    );
    if (steps.built > 0) await context.hint();
    for (const output of options.outputs ?? []) {
      requirePrivileges(workshop);
      const { writeOutput } = await import("./output.js");
      await writeOutput(workshop, image, output, names, signal);
    }
    for (const name of names) {
      workshop.store.tag(name, image.id, image.format);
      options.onEvent?.({ type: "tagged", name: formatReference(name) });
    }
    return { imageId: image.id, config: image.config, steps };
  } finally {
    context.close();
    await contexts.close();
  }
}

/** Loaded when first needed: most contexts are directories. */
async function openSource(workshop: Workshop, options: WithTexts<BuildOptions>): Promise<BuildSource> {
  const { openBuildSource } = await import("./context-source.js");
  return openBuildSource(workshop, options);
}

/** A failed command says nothing of the user namespace, where `chown` gets but EINVAL. */
async function explained<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!hasCode(error, "run-failed") || !hasSingleId()) throw error;
    const failed = error as CooperError;
    const hint =
      failed.hint ??
      "if a chown, USER or apt-get failed: only one user id exists here; give the user more with usermod --add-subuids 100000-165535 --add-subgids 100000-165535";
    throw Object.assign(failed, { hint });
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

/** `--build-arg`, those without a value taken from the environment. */
function buildArgsOf(options: BuildOptions): Map<string, string> {
  const buildArgs = new Map<string, string>();
  for (const [name, value] of Object.entries(options.buildArgs ?? {})) {
    const resolved = value ?? process.env[name];
    // A Containerfile with one is refused, and what comes of both goes to the kernel.
    if (resolved?.includes("\0") === true)
      throw new CooperError("usage", `the build argument ${name} holds a NUL character`);
    if (resolved !== undefined) buildArgs.set(name, resolved);
  }
  return buildArgs;
}

/** The times of the image; a stage that declares ARG SOURCE_DATE_EPOCH sees the one that was given. */
function timesOf(options: BuildOptions, buildArgs: Map<string, string>): ImageTimes {
  const { sourceDateEpoch, rewriteTimestamps } = options;
  const buildArg = buildArgs.get(EPOCH_ARG);
  const times = imageTimes({
    ...(sourceDateEpoch === undefined ? {} : { sourceDateEpoch }),
    ...(rewriteTimestamps === undefined ? {} : { rewriteTimestamps }),
    ...(buildArg === undefined ? {} : { buildArg }),
  });
  if (times.epoch !== undefined) buildArgs.set(EPOCH_ARG, String(times.epoch));
  return times;
}

async function planOf(
  workshop: Workshop,
  source: SourceText,
  options: BuildOptions,
  given: { readonly buildArgs: ReadonlyMap<string, string>; readonly contexts: NamedContexts },
): Promise<{ readonly plan: BuildPlan; readonly parsed: ParsedContainerfile }> {
  const parsed = await parseCached(source, join(workshop.root, "cache/ast"));
  const plan = makePlan(source, parsed.file, {
    buildArgs: given.buildArgs,
    contexts: given.contexts.meanings,
    platform: options.platform === undefined ? hostPlatform() : parsePlatform(options.platform),
    labels: options.labels ?? {},
    allow: entitlements(options),
    ...(options.target === undefined ? {} : { target: options.target }),
  });
  return { plan, parsed };
}

function engineOf(
  workshop: Workshop,
  plan: BuildPlan,
  options: BuildOptions,
  work: {
    readonly context: () => BuildContext;
    readonly contexts: NamedContexts;
    readonly leases: Leases;
    readonly isolation: Isolation;
    readonly networks: StepNetworks;
    readonly onFailure: OnFailure;
    readonly signal: AbortSignal;
    readonly times: ImageTimes;
    readonly settings: RunSettings;
  } & Pick<BuildEngine, "secret" | "agent" | "volumes" | "outlook">,
): BuildEngine {
  const { context, contexts, isolation, leases, networks, onFailure, settings, signal, times } = work;
  const { agent, outlook, secret, volumes } = work;
  const bases = new Map<string, Promise<StoredImage>>();
  const find = async (name: string, platform: Platform): Promise<StoredImage> => {
    if (!name.startsWith(LAYOUT)) {
      return findImage(workshop, name, options.pull ?? "missing", { ...options, platform, signal });
    }
    const { layoutImage } = await import("./layout-image.js");
    return layoutImage(workshop, name.slice(LAYOUT.length), platform, signal);
  };
  const baseImage = (name: string, platform: Platform): Promise<StoredImage> => {
    const key = `${formatPlatform(platform)} ${name}`;
    const found = bases.get(key) ?? find(name, platform).then(leases.keep);
    bases.set(key, found);
    return found;
  };
  return {
    store: leases.store,
    snapshotter: async () => withTimes(await isolation.snapshotter(), times),
    cache: workshop.cache,
    context,
    namedContext: contexts.open,
    sandbox: isolation.sandbox,
    outlook,
    fetcher: workshop.fetcher,
    baseImage,
    canRun: async (platform) => {
      if (platformMatches(hostPlatform(), platform)) return true;
      const { canRun } = await import("../runtime/index.js");
      return canRun(platform);
    },
    requirePrivileges: () => requirePrivileges(workshop),
    // What stands in its way is told by the RUN that needs it.
    prewarm: () => {
      void isolation
        .sandbox()
        .then((sandbox) => sandbox.prewarm(settings.network.mode))
        .catch(() => undefined);
      if (settings.network.mode === "private") networks.prepare();
    },
    network: (mode) => networks.of(mode),
    scratchDir: workshop.scratchDir,
    runSettings: settings,
    onFailure,
    failing: () => Promise.resolve(signal),
    volumes,
    secret,
    agent,
    isGiven: (type, id) => Object.hasOwn((type === "secret" ? options.secrets : options.ssh) ?? {}, id),
    environment: process.env,
    now: Date.now,
    times,
    notice: onceEach(({ code, message }) => options.onEvent?.({ type: "warning", code, message })),
    // Returned, because an engine's listener may ask its caller to wait.
    emit: (event: CooperEvent) => options.onEvent?.(event),
    signal,
    limit: limiter(options.jobs, plan.stages.length),
  };
}

function onceEach(tell: (notice: SandboxNotice) => void): (notice: SandboxNotice) => void {
  const told = new Set<string>();
  return (notice) => {
    if (!told.has(notice.code)) tell(notice);
    told.add(notice.code);
  };
}
