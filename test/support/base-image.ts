import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll } from "vitest";

const execute = promisify(execFile);

/** The Debian release that the base is made of. */
export const BASE_SUITE = "bookworm";

/**
 * Path of a tar of a minimal Debian root file system (about 170 MB) made by mmdebstrap with the machine's own
 * apt sources and apt's own network settings, so that apt works inside a RUN wherever it works outside.
 * Made once per test run (`COOPER_TEST_CACHE`, set by scripts/test.sh), else once per test file; about 15 s.
 */
export function debianBaseTar(): Promise<string> {
  return (made ??= makeDebianBase());
}

let made: Promise<string> | undefined;

/**
 * Arguments: the tar, its name while it is written, the command. The thousands of small files lie in memory: on a disk
 * they can take ten times as long on one day as on another. The mount is gone with the namespace.
 */
const MAKE_ONCE = `
tar=$1 part=$2; shift 2
[ -e "$tar" ] && exit
TMPDIR=$(dirname "$tar")/chroot; export TMPDIR
mkdir -p "$TMPDIR"
mount -t tmpfs -o size=2g,mode=0755 none "$TMPDIR"
"$@" && mv "$part" "$tar"
`;

async function makeDebianBase(): Promise<string> {
  const dir = process.env["COOPER_TEST_CACHE"] ?? ownCache();
  mkdirSync(dir, { recursive: true });
  const tar = join(dir, "debian-base.tar");
  const sources = join(dir, "sources.list");
  const part = `${tar}.${process.pid}`;
  // Two test files may come here at once: the second waits for the first and finds the result.
  await execute(
    "flock",
    [
      join(dir, "debian-base.lock"),
      "unshare",
      "--mount",
      "sh",
      "-c",
      MAKE_ONCE,
      "sh",
      tar,
      part,
      "mmdebstrap",
      "--quiet",
      "--variant=minbase",
      "--format=tar",
      ...aptOptions().map((line) => `--aptopt=${line}`),
      ...certificateArguments(),
      BASE_SUITE,
      part,
      writeSources(sources),
    ],
    { maxBuffer: 64 << 20 },
  );
  return tar;
}

let ownCacheDir: string | undefined;

function ownCache(): string {
  return (ownCacheDir = mkdtempSync(join(tmpdir(), "cooper-test-cache-")));
}

// Importing this file registers the removal with the test file that imports it.
afterAll(() => {
  if (ownCacheDir !== undefined) rmSync(ownCacheDir, { recursive: true, force: true });
});

interface AptTarget {
  readonly uri: string;
  readonly release: string;
  readonly component: string;
}

/** The machine's apt sources for the suite, whatever format they are written in. */
function aptTargets(): readonly AptTarget[] {
  const format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
  const text = execFileSync("apt-get", ["indextargets", "--format", format, "Created-By: Packages"], {
    encoding: "utf8",
  });
  const all = text
    .split("\n")
    .map((line) => line.split("|"))
    .flatMap(([uri = "", release = "", component = ""]) =>
      component === "main" ? [{ uri, release, component }] : [],
    );
  const own = all.filter(({ release }) => release === BASE_SUITE || release.startsWith(`${BASE_SUITE}-`));
  if (own.length > 0) return own;
  // A machine of another release: the same mirror has this one too.
  const mirror = all.find(({ uri, release }) => /\/debian\/?$/.test(uri) && !release.includes("-"));
  if (mirror === undefined) throw new Error("the apt sources of this machine name no Debian mirror");
  return [{ ...mirror, release: BASE_SUITE }];
}

function writeSources(path: string): string {
  writeFileSync(
    path,
    [...new Set(aptTargets().map((t) => `deb ${t.uri} ${t.release} ${t.component}\n`))].join(""),
  );
  return path;
}

/** apt's settings for reaching its mirrors (proxy, certificates, tolerance of old mirrors), plus the proxy of the environment. */
function aptOptions(): readonly string[] {
  const dump = execFileSync("apt-config", ["dump"], { encoding: "utf8" }).split("\n");
  const settings = dump.filter((line) =>
    /^Acquire::(?:https?::|ftp::|Retries|Check-|ForceIPv|Queue|AllowInsecure)/.test(line),
  );
  const has = (name: string): boolean =>
    settings.some((line) => line.toLowerCase().startsWith(`acquire::${name}::proxy "`));
  const fromEnvironment = (["http", "https"] as const).flatMap((scheme) => {
    const proxy = process.env[`${scheme}_proxy`] ?? process.env[`${scheme.toUpperCase()}_PROXY`];
    return proxy === undefined || proxy === "" || has(scheme)
      ? []
      : [`Acquire::${scheme}::Proxy "${proxy}";`];
  });
  return [...settings.filter((line) => !line.endsWith(' "";')), ...fromEnvironment];
}

/** Mirrors behind TLS need the certificates that the machine trusts. */
function certificateArguments(): readonly string[] {
  const bundle = "/etc/ssl/certs/ca-certificates.crt";
  if (!existsSync(bundle) || !aptTargets().some(({ uri }) => uri.startsWith("https:"))) return [];
  return ["--include=ca-certificates", `--customize-hook=upload ${bundle} ${bundle}`];
}
