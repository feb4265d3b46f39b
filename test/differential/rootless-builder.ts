import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Builder, BuildRequest, Outcome } from "../../scripts/compare/types.js";
import type { User, Users } from "../api/users.js";

/** Serves one call a line until its input ends; imports the library as one that installed it does. */
const SERVER = `
import { createInterface } from "node:readline";
import { openCooper } from "cooperage";
const cooper = await openCooper({ root: process.argv[2] });
const calls = {
  async load({ name, archive }) {
    const [image] = await cooper.load(archive);
    await cooper.tag(image, [name]);
    return {};
  },
  async build({ dest, contexts, tag, ...options }) {
    try {
      const { imageId } = await cooper.build({
        ...options,
        ...(contexts === undefined ? {} : { buildContexts: contexts }),
        ...(tag === undefined ? {} : { tags: [tag] }),
      });
      await cooper.save([imageId], { format: "oci-dir", dest });
      return { kind: "built", layout: dest };
    } catch (error) {
      if (error.name !== "CooperError") return { crash: String(error.stack) };
      return { kind: "rejected", message: error.message };
    }
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const { method, argument } = JSON.parse(line);
  process.stdout.write(JSON.stringify(await calls[method](argument)) + "\\n");
}
await cooper[Symbol.asyncDispose]();
`;

/** Cooper as an ordinary user's: the library in a process of theirs, its store and results in their home. */
export function rootlessBuilder(users: Users, user: User): Builder {
  const server = join(users.dist, "../server.mjs");
  writeFileSync(server, SERVER);
  const [program, ...args] = user.argv([process.execPath, server, join(user.home, "store")]);
  const child = spawn(program, args, {
    cwd: user.home,
    env: { PATH: process.env["PATH"], HOME: user.home },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const call = async (method: "load" | "build", argument: object): Promise<unknown> => {
    child.stdin.write(`${JSON.stringify({ method, argument })}\n`);
    const { value, done } = await answers.next();
    if (done === true) throw new Error("the user's process has ended");
    const answer = JSON.parse(value) as { readonly crash?: string };
    if (answer.crash !== undefined) throw new Error(answer.crash);
    return answer;
  };
  let results = 0;
  return {
    name: "rootless",
    title: "cooper of an ordinary user",
    load: async (name, archive) => void (await call("load", { name, archive })),
    build: async (request: BuildRequest) => {
      results += 1;
      return (await call("build", { ...request, dest: join(user.home, `result-${results}`) })) as Outcome;
    },
    withoutOwn: (config) => config,
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
