// The builders that are compared, each with a store of its own on the stage.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const command = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));

/** A tool: `build(name, containerfile, context)` and the rest return [program, arguments]. */
export function cooper(stage) {
  const env = { ...process.env, COOPER_ROOT: join(stage, "cooper") };
  const call = (...args) => [process.execPath, [command, ...args]];
  return {
    name: "cooper",
    env,
    build: (name, file, context) => call("build", "-t", name, "-f", file, context),
    remove: (name) => [call("rmi", "-f", name)],
    version: () => execFileSync(process.execPath, [command, "--version"], { encoding: "utf8" }).trim(),
  };
}

/** Debian's buildah with layers kept. The host's network: one of its own would cost it time in each step, where cooper makes one a build. */
export function buildah(stage) {
  const dir = join(stage, "buildah");
  mkdirSync(join(dir, "tmp"), { recursive: true });
  const write = (name, text) => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const hard = (flag, most) => {
    const limit = execFileSync("bash", ["-c", `ulimit -H${flag}`], { encoding: "utf8" }).trim();
    return limit === "unlimited" ? most : Math.min(Number(limit), most);
  };
  const [files, processes] = [hard("n", 1_048_576), hard("u", 32_768)];
  const env = {
    ...process.env,
    TMPDIR: join(dir, "tmp"),
    CONTAINERS_REGISTRIES_CONF: write("registries.conf", "unqualified-search-registries = []\n"),
    CONTAINERS_STORAGE_CONF: write(
      "storage.conf",
      `[storage]\ndriver = "overlay"\ngraphroot = "${dir}/store"\nrunroot = "${dir}/run"\n`,
    ),
    CONTAINERS_CONF: write(
      "containers.conf",
      `[containers]
default_ulimits = ["nofile=${files}:${files}", "nproc=${processes}:${processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
`,
    ),
  };
  return {
    name: "buildah",
    env,
    build: (name, file, context) => [
      "buildah",
      ["build", "--layers", "--network", "host", "-t", name, "-f", file, context],
    ],
    remove: (name) => [
      ["buildah", ["rmi", "-f", name]],
      ["buildah", ["rmi", "--prune", "-f"]],
    ],
    version: () => execFileSync("buildah", ["--version"], { encoding: "utf8" }).trim(),
  };
}
