import type { BuildEngine, BuildPlan } from "../builder/index.js";
import { envOf } from "../builder/index.js";
import { CooperError } from "../errors.js";
import type { EventListener } from "../events.js";
import type { BaseFacts } from "../lint/index.js";
import { lint } from "../lint/index.js";
import type { ParsedContainerfile } from "../builder/index.js";
import type { Containerfile } from "../parser/index.js";
import type { Diagnostic, SourceText } from "../source.js";
import { place } from "../source.js";
import type { StoredImage } from "../store/index.js";

/** What a build knows before its first step. */
export interface BeforeSteps {
  readonly parsed: ParsedContainerfile;
  readonly plan: BuildPlan;
  readonly baseImage: BuildEngine["baseImage"];
  readonly ignores: (path: string) => boolean;
  readonly emit: EventListener;
}

/**
 * Says what the parser and lint found in the file that is built, in its order. Throws `syntax` when a finding is an error
 * (`# check=error=true`). A base image that is not to be had is the build's to report.
 */
export async function warnOfFindings(build: BeforeSteps): Promise<void> {
  const { parsed, plan, emit } = build;
  const { source } = plan;
  const built = new Set(plan.stages.map(({ from }) => from));
  const bases = await basesOf(build);
  const found = lint(
    source,
    parsed.file,
    {
      buildArgs: plan.buildArgs,
      platform: plan.platform,
      base: (name) => bases.get(name),
      ignores: build.ignores,
      isBuilt: (stage) => built.has(stage),
    },
    { inText: parsed.findings },
  );
  const errors = found.filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw refused(source, errors);
  for (const directive of parsed.file.directives) warnOfFrontend(source, directive, emit);
  for (const warning of parsed.file.warnings) emit(event(source, warning, warning.message));
  for (const warning of found) emit(event(source, warning, `${warning.code}: ${warning.message}`));
}

/** The frontend of BuildKit itself reads what we read; another one may read another language. */
const USUAL_FRONTEND = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@]|$)/;

function warnOfFrontend(
  source: SourceText,
  { name, value, span }: Containerfile["directives"][number],
  emit: EventListener,
): void {
  if (name !== "syntax" || USUAL_FRONTEND.test(value)) return;
  const message = `the frontend ${value} is not used: no image is run to read the file`;
  emit({ type: "warning", code: "syntax-directive", message, where: place(source, span) });
}

async function basesOf({ plan, baseImage }: BeforeSteps): Promise<ReadonlyMap<string, BaseFacts>> {
  const bases = new Map<string, BaseFacts>();
  await Promise.allSettled(
    plan.images.map(async ({ name, platform }) => {
      bases.set(name, baseFacts(await baseImage(name, platform)));
    }),
  );
  return bases;
}

/** Whether ONBUILD triggers set variables before a stage's own instructions do. */
function setsVariables(triggers: readonly string[]): boolean {
  return triggers.some((text) => /^\s*(?:env|arg)\s/i.test(text));
}

/** What lint wants to know of an image. */
export function baseFacts({ config }: StoredImage): BaseFacts {
  const { os, architecture, variant, config: process } = config;
  return {
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
    ...(setsVariables(process.OnBuild ?? []) ? {} : { env: envOf(process) }),
    hasShell: process.Shell !== undefined && process.Shell.length > 0,
  };
}

function refused(source: SourceText, diagnostics: readonly Diagnostic[]): CooperError {
  const rules = [...new Set(diagnostics.map(({ code }) => code))].join(", ");
  const [first] = diagnostics;
  const verb = diagnostics[0]?.code === "InvalidCheck" ? "cannot be read" : "makes these findings errors";
  return new CooperError("syntax", `${source.name}: # check= ${verb}: ${rules}`, {
    source,
    diagnostics,
    ...(first ? { span: first.span } : {}),
  });
}

function event(
  source: SourceText,
  { code, span }: Diagnostic,
  message: string,
): Parameters<EventListener>[0] {
  return { type: "warning", code, message, where: place(source, span) };
}
