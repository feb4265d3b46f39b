import type { DiffId } from "./digest.js";
import type { Platform } from "./platform.js";

/** Durations in nanoseconds, as docker writes them. */
export interface Healthcheck {
  readonly Test: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

/**
 * The `config` object of an image. Source: OCI image-spec config.md; Healthcheck, OnBuild and Shell are docker's
 * (docker image spec v1.2), which BuildKit writes into OCI configs too.
 */
export interface ProcessConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, Record<string, never>>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Healthcheck?: Healthcheck;
  readonly OnBuild?: readonly string[];
  readonly Shell?: readonly string[];
}

/** Source: OCI image-spec config.md, `history`. */
export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

/** An image's configuration; its serialised bytes are the blob whose digest is the image id. */
export interface ImageConfig extends Platform {
  readonly created?: string;
  readonly author?: string;
  readonly config: ProcessConfig;
  readonly rootfs: { readonly type: "layers"; readonly diff_ids: readonly DiffId[] };
  readonly history: readonly HistoryEntry[];
}
