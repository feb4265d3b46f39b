import type { EventListener } from "../events.js";
import type {
  BlobSink,
  BlobSource,
  Descriptor,
  FullReference,
  ImageConfig,
  Manifest,
  Platform,
  Reference,
} from "../image/index.js";

export interface RegistryOptions {
  /** `--tls-verify=false`: accept any certificate, and plain HTTP where TLS does not answer. Missing: as registries.conf says. */
  readonly tlsVerify?: boolean;
  /** `user:password`. */
  readonly creds?: string;
  readonly authFile?: string;
  /** Directory with `*.crt`, `*.cert`, `*.key`, beside the certs.d directories. */
  readonly certDir?: string;
  /** Further tries of each request; default 3. */
  readonly retries?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: EventListener;
}

export interface FoundImage {
  /** The name as the user meant it, with its registry (before mirrors). */
  readonly reference: FullReference;
  readonly manifest: Manifest;
  readonly descriptor: Descriptor;
  readonly manifestBytes: Buffer;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
  /** Streams one of its layers into a sink, from the mirror that answered; verified, retried, resumed where the server can. */
  fetchLayer(layer: Descriptor, sink: BlobSink): Promise<void>;
}

export interface PushImage {
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  readonly blobs: BlobSource;
  /** Where a blob is known to be on the same registry: candidates for a cross-repository mount. */
  readonly mountFrom?: (blob: Descriptor) => string | undefined;
}

export interface Registry extends AsyncDisposable {
  /** All full names that a name may mean, in the order to try (registries.conf: aliases, unqualified-search-registries). */
  candidates(name: Reference): readonly FullReference[];
  /** Manifest and config of a name for a platform; mirrors in order. Throws `not-found`, `auth`, `denied`, `network`, `registry`, `corrupt`. */
  find(name: Reference, platform: Platform, options: RegistryOptions): Promise<FoundImage>;
  /** Uploads what is missing (layers in parallel), then config, then the manifest under the tag. Returns the manifest's descriptor. */
  push(image: PushImage, destination: FullReference, options: RegistryOptions): Promise<Descriptor>;
  /** Checks credentials against the registry, then stores them. Throws `auth`. */
  login(
    host: string,
    credentials: { readonly username: string; readonly password: string },
    options: RegistryOptions,
  ): Promise<void>;
  /** Forgets them; `all` forgets every host. Throws `not-found` when there were none. */
  logout(host: string, options: RegistryOptions): void;
  /** The user name stored for a host. */
  whoIs(host: string, options: RegistryOptions): string | undefined;
}
