import type { KeyComponent } from "../cache/index.js";
import { CooperError } from "../errors.js";
import type { Change, Snapshotter } from "../snapshot/index.js";
import { FIXED_TIME } from "./copy/layer-plan.js";

/** The build argument that fixes an image's times. Source: reproducible-builds.org, SOURCE_DATE_EPOCH specification. */
export const EPOCH_ARG = "SOURCE_DATE_EPOCH";

/** 9999-12-31T23:59:59Z, the last second that RFC 3339 can write. */
const LAST_SECOND = 253_402_300_799;
const NS = 1_000_000_000n;

export interface TimesOptions {
  /** Seconds since 1970; before the build argument. */
  readonly sourceDateEpoch?: number;
  /** Modification times in new layers: those later than the epoch become it, or all do. */
  readonly rewriteTimestamps?: "later" | "all";
  /** Value of `--build-arg SOURCE_DATE_EPOCH`; empty counts as not given. */
  readonly buildArg?: string;
}

/** Which times the layers and the config of a build get. */
export interface ImageTimes {
  /** Seconds since 1970 that stand for now; missing: the clock counts. */
  readonly epoch?: number;
  /** `created` of a step, RFC 3339, when `now` (ms since 1970) is the time. */
  readonly created: (now: number) => string;
  /** Modification time of what a step makes out of nothing, ns since 1970. */
  readonly made: bigint;
  /** What becomes of modification times in new layers; missing: they stay. */
  readonly retime?: (mtimeNs: bigint) => bigint;
  /** What of this changes the layers that steps make, for their keys. */
  readonly components: readonly KeyComponent[];
}

/** The times of one build. Throws `usage` for a value that is no second of the years 1970 to 9999, or two that differ. */
export function imageTimes(options: TimesOptions): ImageTimes {
  const { rewriteTimestamps: rewrite } = options;
  const epoch = epochOf(options);
  if (epoch === undefined) {
    if (rewrite !== undefined) {
      throw new CooperError("usage", "timestamps cannot be rewritten: no time was given", {
        hint: `give --source-date-epoch SECONDS, or set ${EPOCH_ARG}`,
      });
    }
    return { created: (now) => new Date(now).toISOString(), made: FIXED_TIME, components: [] };
  }
  const epochNs = BigInt(epoch) * NS;
  const earlier = (mtimeNs: bigint): bigint => (mtimeNs < epochNs ? mtimeNs : epochNs);
  const text = new Date(epoch * 1000).toISOString().replace(".000Z", "Z");
  const made = earlier(FIXED_TIME);
  return {
    epoch,
    created: () => text,
    made,
    ...(rewrite === undefined ? {} : { retime: rewrite === "all" ? () => epochNs : earlier }),
    // A later epoch leaves the layers as they are, so that the commit's own time does not end every cached build.
    components:
      rewrite === undefined && made === FIXED_TIME
        ? []
        : [{ name: "times", value: `${rewrite ?? "made"} ${epoch}`, label: "the time given for files" }],
  };
}

function epochOf({ sourceDateEpoch, buildArg }: TimesOptions): number | undefined {
  const given = buildArg === undefined || buildArg === "" ? undefined : secondsOf(buildArg);
  if (sourceDateEpoch === undefined) return given;
  const seconds = secondsOf(String(sourceDateEpoch));
  if (given !== undefined && given !== seconds) {
    throw new CooperError(
      "usage",
      `two times are given for the image: ${seconds}, and ${given} by --build-arg ${EPOCH_ARG}`,
    );
  }
  return seconds;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (/^\d{1,12}$/.test(text) && seconds <= LAST_SECOND) return seconds;
  throw new CooperError(
    "usage",
    `${EPOCH_ARG} is "${text}": it must be whole seconds since 1970, at most ${LAST_SECOND} (the year 9999)`,
    { hint: "as `date +%s` or `git log -1 --format=%ct` print it" },
  );
}

/** The same snapshotter, whose new layers have the times of a build. */
export function withTimes(inner: Snapshotter, { retime }: ImageTimes): Snapshotter {
  if (!retime) return inner;
  return {
    ...inner,
    commit: (rootfs) => inner.commit(rootfs, retime),
    write: (changes, signal) => inner.write(retimed(changes, retime), signal),
  };
}

function* retimed(changes: Iterable<Change>, retime: (mtimeNs: bigint) => bigint): Generator<Change, void> {
  for (const change of changes) {
    if (change.kind !== "add") yield change;
    else yield { ...change, entry: { ...change.entry, mtimeNs: retime(change.entry.mtimeNs) } };
  }
}
