import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface TestRegistryOptions {
  /** Serve HTTPS with a certificate of a new authority. */
  readonly tls?: boolean;
  /** Ask for Basic authorization. */
  readonly htpasswd?: { readonly user: string; readonly password: string };
}

export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:port`, as in image names. */
  readonly host: string;
  /** `http://…` or `https://…`, without a slash at the end. */
  readonly url: string;
  /** The authority's certificate (TLS only; the file does not exist otherwise). */
  readonly caFile: string;
  /** Holds the authority's certificate as `ca.crt`, for `--cert-dir`. */
  readonly certDir: string;
  /** Where it keeps its blobs. */
  readonly dataDir: string;
  stop(): Promise<void>;
}

/** Starts Debian's `docker-registry` on a free loopback port with an empty directory; stopping it removes everything. */
export async function startRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const dir = mkdtempSync(join(tmpdir(), "cooper-registry-"));
  const certDir = join(dir, "certs");
  const dataDir = join(dir, "data");
  mkdirSync(certDir);
  const host = `127.0.0.1:${await freePort()}`;
  if (options.tls) makeCertificates(certDir, join(dir, "server"));
  if (options.htpasswd) writeFileSync(join(dir, "htpasswd"), htpasswdLine(options.htpasswd));
  writeFileSync(join(dir, "config.json"), JSON.stringify(configuration(host, dir, dataDir, options)));
  const child = spawn("docker-registry", ["serve", join(dir, "config.json")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(dir, { recursive: true, force: true });
  };
  const url = `${options.tls ? "https" : "http"}://${host}`;
  try {
    await untilServing(child, host);
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, url, caFile: join(certDir, "ca.crt"), certDir, dataDir, stop, [Symbol.asyncDispose]: stop };
}

/**
 * Makes an authority (`ca.crt`, `ca.key` is thrown away) in one directory and a server's certificate for
 * 127.0.0.1, localhost and registry.test (`server.crt`, `server.key`) in another.
 */
export function makeCertificates(
  caDir: string,
  serverDir: string,
): { readonly cert: string; readonly key: string } {
  mkdirSync(serverDir, { recursive: true });
  const ca = join(caDir, "ca.crt");
  const caKey = join(serverDir, "ca.key");
  const request = join(serverDir, "server.csr");
  const [cert, key] = [join(serverDir, "server.crt"), join(serverDir, "server.key")];
  const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    caKey,
    "-out",
    ca,
    "-days",
    "2",
    "-subj",
    "/CN=cooper test authority",
  );
  openssl("req", "-new", ...newKey, "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1");
  const names = join(serverDir, "names.cnf");
  writeFileSync(names, "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test\n");
  openssl(
    "x509",
    "-req",
    "-in",
    request,
    "-CA",
    ca,
    "-CAkey",
    caKey,
    "-CAcreateserial",
    "-CAserial",
    join(serverDir, "serial"),
    "-extfile",
    names,
    "-out",
    cert,
    "-days",
    "2",
  );
  rmSync(caKey);
  return { cert, key };
}

/** `user:bcrypt`. docker-registry takes no other hash; Perl's crypt() makes it on any Debian, where Node and openssl cannot. */
function htpasswdLine({ user, password }: { readonly user: string; readonly password: string }): string {
  const script = "local $/; print crypt(<STDIN>, q($2y$05$abcdefghijklmnopqrstuu))";
  return `${user}:${execFileSync("perl", ["-e", script], { input: password, encoding: "utf8" })}\n`;
}

function configuration(
  host: string,
  dir: string,
  dataDir: string,
  { tls, htpasswd }: TestRegistryOptions,
): object {
  return {
    version: "0.1",
    log: { level: "error", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: dataDir }, delete: { enabled: true } },
    http: {
      addr: host,
      secret: "test",
      ...(tls
        ? { tls: { certificate: join(dir, "server/server.crt"), key: join(dir, "server/server.key") } }
        : {}),
    },
    ...(htpasswd ? { auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } } } : {}),
  };
}

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function untilServing(child: ChildProcess, host: string): Promise<void> {
  let log = "";
  let failed: Error | undefined;
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    log = (log + text).slice(-4000);
  });
  child.on("error", (error) => {
    failed = error;
  });
  const { connect } = await import("node:net");
  for (let tries = 0; tries < 600; tries += 1) {
    if (failed) throw failed;
    if (child.exitCode !== null) throw new Error(`docker-registry exited with ${child.exitCode}: ${log}`);
    const socket = connect(Number(host.split(":")[1]), "127.0.0.1");
    const connected = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (connected) return;
    await sleep(50);
  }
  throw new Error(`docker-registry does not answer: ${log}`);
}
