import { execFile, spawnSync } from "node:child_process";
import { CooperError } from "../errors.js";
import type { Credential } from "./auth-file.js";

type Env = Readonly<Record<string, string | undefined>>;
/** A call of `docker-credential-NAME`. `input` goes to its stdin, never into its arguments. */
export interface HelperCall {
  readonly name: string;
  readonly action: "get" | "store" | "erase";
  readonly input: string;
}

const TIMEOUT_MS = 60_000;
const MAX_OUTPUT = 1024 * 1024;
// What helpers need to find their own store or cloud account. Nothing that changes how programs load (NODE_OPTIONS, LD_PRELOAD).
const PASSED =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|LC_.*|TMPDIR|DISPLAY|WAYLAND_DISPLAY|XDG_.*|DBUS_.*|GNUPGHOME|GPG_TTY|PASSWORD_STORE_.*|AWS_.*|GOOGLE_.*|CLOUDSDK_.*|AZURE_.*|ACR_.*|DOCKER_CONFIG|(?:HTTPS?|NO|ALL)_PROXY|(?:https?|no|all)_proxy|SSL_CERT_.*)$/;
// Source: docker-credential-helpers, which all helpers follow: this text on stdout, status 1.
const NOT_FOUND = /credentials not found|no credentials server URL/i;

/** Asks a helper program; undefined when it knows nothing about the key. Throws `auth` when it fails. */
export async function askHelper(
  name: string,
  serverKey: string,
  env: Env,
  signal: AbortSignal | undefined,
): Promise<Credential | undefined> {
  const call: HelperCall = { name, action: "get", input: serverKey };
  const answer = await new Promise<Outcome>((resolve) => {
    const options = {
      env: helperEnv(env),
      timeout: TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT,
      ...(signal ? { signal } : {}),
    };
    const child = execFile(program(name), [call.action], options, (error, stdout) =>
      resolve({ stdout, error: error ?? undefined }),
    );
    // A helper that ends before it reads its input must not end us with EPIPE.
    child.stdin?.on("error", () => undefined).end(serverKey);
  });
  return credentialFrom(call, answer);
}

/** As `askHelper`, for callers that cannot wait for a promise. */
export function askHelperSync(name: string, serverKey: string, env: Env): Credential | undefined {
  const call: HelperCall = { name, action: "get", input: serverKey };
  return credentialFrom(call, runSync(call, env));
}

/** Lets a helper store or erase. Throws `auth` when it fails. */
export function tellHelper(call: HelperCall, env: Env): void {
  const { error, stdout } = runSync(call, env);
  if (error && !NOT_FOUND.test(stdout)) throw helperFailed(call, error);
}

interface Outcome {
  readonly stdout: string;
  readonly error: Error | undefined;
}

function runSync(call: HelperCall, env: Env): Outcome {
  const options = {
    env: helperEnv(env),
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT,
    input: call.input,
    encoding: "utf8" as const,
  };
  const { stdout, status, error } = spawnSync(program(call.name), [call.action], options);
  // A helper that ends before it reads its input leaves EPIPE in `error`: its status says more.
  const ended = status === 0 ? undefined : new Error(`it exited with status ${status}`);
  const failed = status === null ? (error ?? new Error("it was killed")) : ended;
  return { stdout: stdout ?? "", error: failed };
}

function credentialFrom(call: HelperCall, { stdout, error }: Outcome): Credential | undefined {
  if (error && NOT_FOUND.test(stdout)) return undefined;
  if (error) throw helperFailed(call, error);
  let answer: unknown;
  try {
    answer = JSON.parse(stdout);
  } catch {
    throw helperFailed(call, new Error("it did not answer with JSON"));
  }
  const { Username, Secret } = (answer ?? {}) as { readonly Username?: unknown; readonly Secret?: unknown };
  if (typeof Username !== "string" || typeof Secret !== "string")
    throw helperFailed(call, new Error("its answer lacks Username or Secret"));
  if (Secret === "") return undefined;
  return Username === "<token>"
    ? { username: "", password: "", identityToken: Secret }
    : { username: Username, password: Secret };
}

function program(name: string): string {
  if (!/^[\w.-]+$/.test(name))
    throw new CooperError("usage", `"${name}" is not the name of a credential helper`);
  return `docker-credential-${name}`;
}

function helperEnv(env: Env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([key]) => PASSED.test(key)));
}

/** Its own output is not shown: it may hold what it was asked for. */
function helperFailed({ name, action }: HelperCall, error: Error): CooperError {
  const { code } = error as { readonly code?: unknown };
  const known = error.message.startsWith("it ") ? error.message : "it failed";
  const exited = typeof code === "number" ? `it exited with status ${code}` : known;
  const reason = code === "ENOENT" ? "it is not installed" : exited;
  return new CooperError("auth", `credential helper ${program(name)} ${action}: ${reason}`);
}
