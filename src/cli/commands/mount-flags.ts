import { resolve } from "node:path";
import type { BuildOptions, Secret } from "../../cooper.js";
import { CooperError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import type { World } from "../world.js";

/** What steps of a build find mounted, beside what the Containerfile says. */
export const mountFlags = {
  secret: {
    kind: "list",
    value: "id=N,src=F|env=V",
    help: "what RUN --mount=type=secret,id=N finds, from a file or a variable; kept nowhere",
  },
  ssh: {
    kind: "list",
    value: "default|N=PATH",
    help: "an agent for RUN --mount=type=ssh: $SSH_AUTH_SOCK, its socket, or private keys",
  },
  volume: {
    kind: "list",
    short: "v",
    value: "SRC:DEST[:OPTS]",
    help: "show a path of this machine to every RUN: ro, rw, O (writes are discarded)",
  },
} as const satisfies FlagTable;

type Given = Flags<typeof mountFlags>;

/** The flags as options; what was not given stays out. Throws `usage` and `unsupported`, naming the flag. */
export function mountOptions(
  { secret, ssh, volume }: Given,
  world: World,
): Pick<BuildOptions, "secrets" | "ssh" | "volumes"> {
  return {
    ...(secret.length === 0
      ? {}
      : { secrets: Object.fromEntries(secret.map((text) => secretOf(text, world))) }),
    ...(ssh.length === 0 ? {} : { ssh: Object.fromEntries(ssh.map((text) => agentOf(text, world))) }),
    ...(volume.length === 0 ? {} : { volumes: volume.map((text) => volumeOf(text, world)) }),
  };
}

/** Source: docker buildx; without `src` and `env` the id is the name of a variable, if there is one, else of a file. */
function secretOf(text: string, world: World): readonly [string, Secret] {
  const wrong = (why: string): CooperError =>
    usage(`--secret: "${text}" ${why}: write id=ID,src=FILE or id=ID,env=VAR`);
  const fields = new Map<string, string>();
  for (const field of text.split(",")) {
    const [, written = "", value = ""] = /^([^=]+)=(.*)$/s.exec(field) ?? [];
    const key = written.toLowerCase() === "source" ? "src" : written.toLowerCase();
    if (!["id", "src", "env", "type"].includes(key)) throw wrong(`has "${field}"`);
    fields.set(key, value);
  }
  const [id = "", src, type] = [fields.get("id"), fields.get("src"), fields.get("type")];
  if (id === "") throw wrong("has no id");
  if (type !== undefined && type !== "file" && type !== "env") throw wrong(`has type=${type}`);
  const env = fields.get("env") ?? (type === "env" ? (src ?? id) : undefined);
  if (env !== undefined && src !== undefined && fields.has("env")) throw wrong("has both src and env");
  if (env !== undefined && type === "file") throw wrong("has type=file and env");
  if (env !== undefined) return [id, { env }];
  if (src === undefined && type === undefined && world.env[id] !== undefined) return [id, { env: id }];
  return [id, { file: resolve(world.cwd, src ?? id) }];
}

function agentOf(text: string, world: World): readonly [string, readonly string[]] {
  const [, id = "", paths] = /^([^=]*)(?:=(.*))?$/s.exec(text) ?? [];
  if (id === "") throw usage(`--ssh: "${text}" has no id: write default or ID=PATH`);
  const words = paths === undefined || paths === "" ? [] : paths.split(",");
  return [id, words.map((path) => resolve(world.cwd, path))];
}

/** Makes the source absolute. Throws for what would be a named volume. */
export function volumeOf(text: string, world: World): string {
  const [source = "", target = "", ...rest] = text.split(":");
  if (source === "" || !target.startsWith("/") || rest.length > 1) {
    throw usage(`--volume: "${text}" is not SOURCE:TARGET[:OPTIONS], with an absolute TARGET`);
  }
  if (!/^[./~]/.test(source)) {
    throw new CooperError("unsupported", `--volume: named volumes are not supported yet: "${source}"`, {
      hint: `for a directory of that name, write ./${source}`,
    });
  }
  return [resolve(world.cwd, source), target, ...rest].join(":");
}
