// The builders that are compared, behind one interface.
import { execFile } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { BuildOptions, Cooper } from "../../src/index.js";
import type { Peers } from "../../test/support/peers.js";
import type { Docker } from "./docker.js";
import type { Attributes, Builder, BuildRequest } from "./types.js";

const execute = promisify(execFile);

/** This checkout's own. `settings` go into every build. Whoever opened `cooper` closes it. */
export function cooperBuilder(cooper: Cooper, version: string, settings: BuildOptions = {}): Builder {
  return {
    name: "cooper",
    title: `cooper ${version}`,
    async load(name, ociArchive) {
      const [image] = await cooper.load(ociArchive);
      if (image === undefined) throw new Error(`${ociArchive} holds no image`);
      await cooper.tag(image, [name]);
    },
    async build({ file, contextDir, target, buildArgs, contexts, tag, dest }) {
      try {
        const { imageId } = await cooper.build({
          ...settings,
          file,
          contextDir,
          ...(target === undefined ? {} : { target }),
          ...(buildArgs === undefined ? {} : { buildArgs }),
          ...(contexts === undefined ? {} : { buildContexts: contexts }),
          ...(tag === undefined ? {} : { tags: [tag] }),
        });
        await cooper.save([imageId], { format: "oci-dir", dest });
        return { kind: "built", layout: dest };
      } catch (error) {
        if (!(error instanceof Error) || error.name !== "CooperError") throw error;
        return { kind: "rejected", message: error.message };
      }
    },
    withoutOwn: (config) => config,
    close: () => Promise.resolve(),
  };
}

/** For Go's programs: one that ends within a second spends a fifth of it on garbage that its end would collect. */
const NO_GC = { GOGC: "off" };

/** Debian's buildah with the storage of `peers`, which `close` removes. */
export async function buildahBuilder(peers: Peers): Promise<Builder> {
  const { stdout } = await peers.buildah(["--version"]);
  let images = 0;
  return {
    name: "buildah",
    title: `buildah ${/version (\S+)/.exec(stdout)?.[1] ?? "?"}`,
    async load(name, ociArchive) {
      const { stdout: id } = await peers.buildah(["pull", "--quiet", `oci-archive:${ociArchive}`]);
      await peers.buildah(["tag", id.trim(), name]);
    },
    async build(request) {
      images += 1;
      const name = request.tag ?? `localhost/compare-${images}`;
      const args = ["build", "--layers=false", "--format=docker", "--quiet", "--network=host", "--tag", name];
      const built = await peers.buildah([...args, ...buildArguments(request)], { mayFail: true, env: NO_GC });
      if (built.status !== 0) return { kind: "rejected", message: lastWord(built.stderr) };
      mkdirSync(request.dest, { recursive: true });
      // OCI's config has no place for HEALTHCHECK, ONBUILD and SHELL: Docker's has, and `dir:` keeps it.
      const pushed = await peers.buildah(
        ["push", "--quiet", "--disable-compression", name, `dir:${request.dest}`],
        { mayFail: true, env: NO_GC },
      );
      if (pushed.status !== 0) return { kind: "broken", message: lastWord(pushed.stderr) };
      return { kind: "built", layout: request.dest };
    },
    withoutOwn: withoutBuildahsOwn,
    close: () => peers.close(),
  };
}

/** What buildah alone says: its version as a label, and no working directory where that is the root. */
function withoutBuildahsOwn(config: Attributes): Attributes {
  const { "Labels.io.buildah.version": _, ...rest } = config;
  return { WorkingDir: "/", ...rest };
}

/** The BuildKit in a Docker daemon. Images that it is given or makes are removed by `close`. */
export function buildkitBuilder(docker: Docker, dir: string): Builder {
  const names: string[] = [];
  return {
    name: "buildkit",
    title: `BuildKit of Docker ${docker.version}`,
    async load(name, ociArchive) {
      const archive = join(dir, `load-${names.length}.tar`);
      await execute("skopeo", [
        "copy",
        "--quiet",
        `oci-archive:${ociArchive}`,
        `docker-archive:${archive}:${name}`,
      ]);
      await docker.run(["load", "--quiet", "--input", archive]);
      names.push(name);
    },
    async build(request) {
      const name = request.tag ?? `cooper-compare-${process.pid}-${names.length}`;
      const args = ["buildx", "build", "--builder=default", "--progress=plain", "--tag", name];
      const built = await docker.run([...args, ...docker.buildFlags, ...buildArguments(request)], {
        mayFail: true,
      });
      if (built.status !== 0) return { kind: "rejected", message: lastWord(built.stderr) };
      names.push(name);
      const archive = `${request.dest}.tar`;
      const saved = await docker.run(["save", "--output", archive, name], { mayFail: true });
      if (saved.status !== 0) return { kind: "broken", message: lastWord(saved.stderr) };
      mkdirSync(request.dest, { recursive: true });
      await execute("tar", ["-xf", archive, "-C", request.dest]);
      rmSync(archive);
      return { kind: "built", layout: request.dest };
    },
    withoutOwn: (config) => config,
    async close() {
      if (names.length > 0) await docker.run(["rmi", "--force", ...names], { mayFail: true });
      await docker.close();
    },
  };
}

function buildArguments(request: BuildRequest): readonly string[] {
  const { file, contextDir, target, buildArgs = {}, contexts = {} } = request;
  return [
    `--file=${file}`,
    ...(target === undefined ? [] : [`--target=${target}`]),
    ...Object.entries(buildArgs).map(([name, value]) => `--build-arg=${name}=${value}`),
    ...Object.entries(contexts).map(([name, path]) => `--build-context=${name}=${path}`),
    contextDir,
  ];
}

/** What a tool says last, without `Error:`. */
function lastWord(stderr: string): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const last = lines.findLast((line) => /^error:/i.test(line)) ?? lines.at(-1) ?? "";
  return last.replace(/^error: (?:failed to build: )?/i, "").trim();
}
