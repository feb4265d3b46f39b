import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openCooper } from "../../../src/index.js";
import type { Lab } from "../../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";
import { describeWith } from "../../support/packages.js";

/** A program of this machine with the libraries that it loads, below `ssh/` of the context. */
function putProgram(lab: Lab, program: string): void {
  const path = execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
  const libraries = execFileSync("ldd", [path], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
  for (const file of [path, ...libraries]) {
    const to = join(lab.context, "ssh", file);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(file, to);
  }
}

function newKey(lab: Lab, name: string, passphrase = ""): string {
  const path = join(lab.dir, name);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path]);
  return path;
}

interface Agent extends Disposable {
  readonly socket: string;
  keys(): string;
}

async function startAgent(lab: Lab, key: string): Promise<Agent> {
  const socket = join(lab.dir, "agent");
  const child: ChildProcess = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  while (!existsSync(socket)) await sleep(10);
  const env = { ...process.env, SSH_AUTH_SOCK: socket };
  execFileSync("ssh-add", ["-q", key], { env, stdio: "ignore" });
  return {
    socket,
    keys: () => execFileSync("ssh-add", ["-l"], { env, encoding: "utf8" }),
    [Symbol.dispose]: () => void child.kill("SIGKILL"),
  };
}

const base = `${BUSYBOX_BASE}COPY ssh /
RUN echo root:x:0:0:root:/root:/bin/sh > /etc/passwd
`;

describeWith(["ssh-agent"], "an ssh-agent in a RUN", () => {
  test("lists and signs with the keys of a real one, and cannot change it", async () => {
    await using lab = await openLab();
    lab.write({ "ssh/etc/x": "" });
    putProgram(lab, "ssh-add");
    putProgram(lab, "ssh-keygen");
    const key = newKey(lab, "one");
    using agent = await startAgent(lab, key);
    copyFileSync(`${key}.pub`, join(lab.context, "ssh/one.pub"));
    const options = { ssh: { default: [agent.socket] } };
    const file = `${base}RUN --mount=type=ssh,mode=0666 ssh-add -l; echo $SSH_AUTH_SOCK; stat -c %a $SSH_AUTH_SOCK; \\
  echo text > /t; ssh-keygen -Y sign -f /one.pub -n file /t 2>&1; head -1 /t.sig; \\
  ssh-add -D 2>&1; ssh-add -x </dev/null 2>&1; ssh-add -l
RUN echo "[$SSH_AUTH_SOCK]"; ls -A /run 2>&1 || true
`;
    const before = agent.keys();
    const build = await lab.build(file, options);
    expect(before).toMatch(/ one \(ED25519\)/);
    expect(build.output.split(before)).toHaveLength(3);
    expect(build.output).toContain("/run/buildkit/ssh_agent.0\n666\n");
    expect(build.output).toContain("-----BEGIN SSH SIGNATURE-----");
    expect(build.output).toMatch(/\[\]\nls: \/run: No such file or directory\n$/);
    expect(agent.keys()).toBe(before);
    expect((await lab.build(file, { ssh: {} })).built).toEqual([]);
  });

  test("holds keys that are given as files; the agent for them ends with the build", async () => {
    await using lab = await openLab();
    lab.write({ "ssh/etc/x": "" });
    putProgram(lab, "ssh-add");
    const ssh = { work: [newKey(lab, "one"), newKey(lab, "two")] };
    const step = "--mount=type=ssh,id=work,target=/sock --mount=type=ssh,id=none";
    const { output } = await lab.build(`${base}RUN ${step} ssh-add -l; echo $SSH_AUTH_SOCK\n`, { ssh });
    expect(output).toMatch(/ one \(ED25519\)\n.* two \(ED25519\)\n\/sock\n$/);
    expect(agentsBelow(lab.dir)).toEqual([]);
  });

  test("works in a store whose path is longer than a socket's can be", async () => {
    await using lab = await openLab();
    lab.write({ "ssh/etc/x": "" });
    putProgram(lab, "ssh-add");
    const file = `${base}RUN --mount=type=ssh ssh-add -l\n`;
    await using cooper = await openCooper({ root: join(lab.dir, "long".repeat(30)) });
    const output: string[] = [];
    await cooper.build({
      contextDir: lab.context,
      containerfile: file,
      ssh: { default: [newKey(lab, "one")] },
      onEvent: (event) => {
        if (event.type === "output") output.push(Buffer.from(event.chunk).toString("utf8"));
        if (output.join("").includes("ED25519")) expect(agentsBelow(lab.dir)).toHaveLength(1);
      },
    });
    expect(output.join("")).toMatch(/ one \(ED25519\)\n$/);
    expect(agentsBelow(lab.dir)).toEqual([]);
  });

  test("a user who may not open the socket cannot use it, its owner can", async () => {
    await using lab = await openLab();
    lab.write({ "ssh/etc/x": "" });
    putProgram(lab, "ssh-add");
    using agent = await startAgent(lab, newKey(lab, "one"));
    const file = `${base}RUN echo u:x:5:5::/:/bin/sh >> /etc/passwd
USER 5:5
RUN --mount=type=ssh ssh-add -l 2>&1 || true
RUN --mount=type=ssh,uid=5,gid=5 ssh-add -l
`;
    const { output } = await lab.build(file, { ssh: { default: [agent.socket] } });
    expect(output).toMatch(/Permission denied\n.* one \(ED25519\)\n$/);
  });

  test.each([
    ["required and not given", {}, "not-found", 'RUN --mount: ssh agent "default" was not given'],
    ["a path that is not there", { default: ["/no/such"] }, "not-found", "ssh default: there is no /no/such"],
  ])("%s", async (_name, ssh, code, message) => {
    await using lab = await openLab();
    const build = lab.build("FROM scratch\nRUN --mount=type=ssh,required true\n", { ssh });
    await expect(build).rejects.toMatchObject({ code, message });
  });

  test("a key with a passphrase is refused with what to do", async () => {
    await using lab = await openLab();
    const ssh = { default: [newKey(lab, "locked", "phrase")] };
    await expect(lab.build("FROM scratch\nRUN --mount=type=ssh true\n", { ssh })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^ssh default: the key .*locked cannot be used: /),
      hint: "a key with a passphrase must be in an agent: ssh-add KEY, then --ssh default",
    });
  });
});

/** Agents whose working directory is there, as a build's own is in its store. */
function agentsBelow(dir: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      const isAgent = readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith("ssh-agent\0");
      return isAgent && readlinkSync(`/proc/${pid}/cwd`).startsWith(dir);
    } catch {
      return false;
    }
  });
}
