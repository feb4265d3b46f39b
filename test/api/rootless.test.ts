import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeWith } from "../support/packages.js";
import { startRegistry } from "../support/registry.js";
import type { User, Users } from "./users.js";
import { makeContext, openUsers, outcomeOf, processesOf, SHELL } from "./users.js";

const FULL = `${SHELL}RUN mkdir -p /etc /out/secret && echo 'u:x:7:8::/home/u:/bin/sh' > /etc/passwd && \\
    echo hi > /out/f && chown 5:6 /out/f && chmod 600 /out/f && echo s > /out/secret/s && \\
    chown -R 9:9 /out/secret && chmod 700 /out/secret && touch -d @1 /out/secret/s /out/secret /out/f /out /etc/passwd
FROM base
COPY --from=base /out /copied
COPY --chown=u --chmod=640 a /a
WORKDIR /work
USER u
RUN id -u > /tmp.id 2>/dev/null; id && cat /a
`;

/** What a program may meet, each through an engine. Prints JSON. */
const LIBRARY_SCRIPT = `
import { openCooper } from "cooperage";
const shell = ${JSON.stringify(SHELL)};
const contextDir = process.argv[2];
const cooper = await openCooper();
const caught = (work) => work.then(() => { throw new Error("it worked"); }, (error) => error);
const run = (line) => ({ contextDir, containerfile: shell + "RUN " + line + "\\n" });
const onEvent = (event) => {
  if (event.type === "output") throw new Error("the listener's own");
};
const thrown = await caught(cooper.build({ ...run("echo loud; sleep 100"), onEvent }));
const controller = new AbortController();
const abort = (event) => event.type === "output" && controller.abort();
const aborted = await caught(cooper.build({ ...run("echo soft; sleep 100"), signal: controller.signal, onEvent: abort }));
const failed = await caught(cooper.build(run("exit 9")));
await cooper.build({ ...run("true"), tags: ["script"] });
let output = "";
await cooper.run("script", { command: ["echo", "said"], onOutput: (stream, chunk) => (output += Buffer.from(chunk)) });
await Promise.all([cooper[Symbol.asyncDispose](), cooper[Symbol.asyncDispose]()]);
const { code, exitCode, where } = failed;
console.log(JSON.stringify({ thrown: thrown.message, aborted: aborted.code, failed: [code, exitCode, where], output, closedTwice: true }));
`;

const NEEDS = ["root", "mounts", "busybox", "docker-registry", "newuidmap", "openssl", "strace", "unshare"];

let users: Users;
let user: User;
let single: User;
let dir: string;

const context = (name: string, containerfile: string): string => makeContext(dir, name, containerfile);

const asRoot = (...args: readonly string[]) =>
  outcomeOf(process.execPath, [join(users.dist, "cooper.cjs"), "--root", join(dir, "root"), ...args]);

interface Inspected {
  readonly RootFS: { readonly Layers: readonly string[] };
}

function layersOf(inspected: string): readonly string[] {
  const [image] = JSON.parse(inspected) as readonly Inspected[];
  return image?.RootFS.Layers ?? [];
}

describeWith(NEEDS, "without root's power", () => {
  beforeAll(() => {
    users = openUsers();
    user = users.add({ subordinateIds: true });
    single = users.add({ subordinateIds: false });
    dir = mkdtempSync(join(tmpdir(), "cooper-rootless-"));
    chmodSync(dir, 0o755);
    context("full", FULL);
    context("shell", `${SHELL}`);
  });

  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
    users[Symbol.dispose]();
  });

  describe("an ordinary user with subordinate ids", () => {
    test("builds what root builds, owners included, and a cached rebuild starts no process", async () => {
      const built = await user.cooper("build", "-t", "full", join(dir, "full"));
      expect(built).toMatchObject({ code: 0 });
      expect(built.stderr + built.stdout).toContain("uid=7(u) gid=8");
      expect(await asRoot("build", "-q", "-t", "full", join(dir, "full"))).toMatchObject({ code: 0 });

      const list = ["run", "--rm", "--user", "0", "full", "ls", "-lnR", "/copied", "/a", "/work"] as const;
      const [mine, roots] = [await user.cooper(...list), await asRoot(...list)];
      expect(mine.code).toBe(0);
      expect(mine.stdout).toMatch(/-rw-------\s+1 5\s+6 .* f\n/);
      expect(mine.stdout).toMatch(/-rw-r-----\s+1 7\s+8 .* \/a\n/);
      const timeless = (text: string): string => text.replaceAll(/ \w{3} +\d+ (?:\d\d:\d\d|\d{4})/g, "");
      expect(timeless(mine.stdout)).toBe(timeless(roots.stdout));
      const own = layersOf((await user.cooper("inspect", "full")).stdout);
      const theirs = layersOf((await asRoot("inspect", "full")).stdout);
      expect(own.length).toBe(7);
      // The layers of RUN hold the time at which they ran; those of COPY and WORKDIR do not.
      for (const i of [0, 4, 5]) expect(own[i]).toBe(theirs[i]);

      const trace = join(user.home, "trace");
      const again = await user.run([
        "strace",
        "-f",
        "-o",
        trace,
        "-e",
        "trace=execve,unshare,setns,vfork,fork",
        process.execPath,
        join(users.dist, "cooper.cjs"),
        "build",
        "-q",
        "-t",
        "full",
        join(dir, "full"),
      ]);
      expect(again.code).toBe(0);
      const calls = readFileSync(trace, "utf8")
        .split("\n")
        .filter((line) => /(?:execve|unshare|setns|fork)\(/.test(line));
      expect(calls.length).toBe(1);
    });

    test("an engine's answer is whole: events once and in order, errors with place, hint and exit code", async () => {
      const failing = context("failing", `${SHELL}RUN echo out; echo err >&2; exit 37\n`);
      const failed = await user.cooper("build", "--progress", "json", failing);
      expect(failed.code).toBe(37);
      const events = failed.stderr
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(events.filter(({ type }) => type === "step-start").map(({ text }) => text)).toEqual([
        "FROM scratch AS base",
        "COPY busybox /bin/busybox",
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
        "RUN echo out; echo err >&2; exit 37",
      ]);
      expect(events.filter(({ type }) => type === "output").length).toBe(2);
      expect(events.at(-1)).toMatchObject({ type: "error", code: "run-failed", exitCode: 37 });
      expect(String(events.at(-1)?.["where"])).toMatch(/Containerfile:4:1$/);
    });

    test("run, save, images, rmi and a terminal work", async () => {
      expect((await user.cooper("build", "-q", "-t", "shell", join(dir, "shell"))).code).toBe(0);
      expect(await user.cooper("run", "--rm", "shell", "sh", "-c", "id -u; exit 7")).toMatchObject({
        code: 7,
        stdout: "0\n",
      });
      const typed = await user.run([
        "script",
        "-qec",
        `${process.execPath} ${users.dist}/cooper.cjs run --rm -it shell sh -c 'test -t 0 && test -t 2 && tty'`,
        "/dev/null",
      ]);
      expect(typed).toMatchObject({ code: 0 });
      expect(typed.stdout).toContain("/dev/pts/0");
      const archive = join(user.home, "shell.tar");
      expect(await user.cooper("save", "-o", archive, "shell")).toMatchObject({ code: 0 });
      expect(await asRoot("load", "-i", archive)).toMatchObject({ code: 0 });
      expect((await asRoot("run", "--rm", "shell", "echo", "from the archive")).stdout).toBe(
        "from the archive\n",
      );
      expect((await user.cooper("images")).stdout).toContain("localhost/shell");
      expect((await user.cooper("rmi", "shell")).code).toBe(0);
      expect((await user.cooper("images")).stdout).not.toContain("localhost/shell");
    });

    test("a layer that changed nothing can be saved", async () => {
      const path = context("nothing", `${SHELL}RUN true\n`);
      expect((await user.cooper("build", "-q", "-t", "nothing", path)).code).toBe(0);
      expect(await user.cooper("save", "-o", join(user.home, "nothing.tar"), "nothing")).toMatchObject({
        code: 0,
      });
    });

    test("push and pull find the logins of the user, not those of root in the namespace", async () => {
      await using registry = await startRegistry({ htpasswd: { user: "ann", password: "secret" } });
      expect((await user.cooper("build", "-q", "-t", "pushed", join(dir, "shell"))).code).toBe(0);
      const name = `${registry.host}/a/pushed:1`;
      const flag = "--tls-verify=false";
      expect((await user.cooper("push", flag, "pushed", name)).code).toBe(125);
      const auth = join(user.home, ".config/containers");
      mkdirSync(auth, { recursive: true });
      writeFileSync(
        join(auth, "auth.json"),
        JSON.stringify({
          auths: { [registry.host]: { auth: Buffer.from("ann:secret").toString("base64") } },
        }),
      );
      expect(await user.cooper("push", flag, "pushed", name)).toMatchObject({ code: 0 });
      expect((await user.cooper("rmi", "pushed")).code).toBe(0);
      const pulled = await user.cooper("pull", flag, name);
      expect(pulled).toMatchObject({ code: 0 });
      expect(pulled.stderr).toContain("Copying config");
      expect(await user.cooper("run", "--rm", name, "echo", "pulled")).toMatchObject({
        code: 0,
        stdout: "pulled\n",
      });
    });

    test("the library does the same from a script: build, push, abort, a listener that throws", async () => {
      await using registry = await startRegistry({ tls: true });
      const script = join(users.dist, "../build-and-push.mjs");
      copyFileSync("examples/build-and-push/build-and-push.mjs", script);
      const certs = join(user.home, "certs");
      mkdirSync(certs);
      copyFileSync(registry.caFile, join(certs, "ca.crt"));
      const name = `${registry.host}/team/app:1`;
      const example = await user.run([process.execPath, script, join(dir, "shell"), name], {
        env: { REGISTRY_CERTS: certs },
      });
      expect(example).toMatchObject({ code: 0 });
      expect(example.stdout).toMatch(/^built sha256:[0-9a-f]{64}: .*\npushed .*@sha256:[0-9a-f]{64}\n$/);

      const own = join(users.dist, "../own.mjs");
      writeFileSync(own, LIBRARY_SCRIPT);
      const answer = await user.run([process.execPath, own, join(dir, "shell")]);
      expect(answer.stderr).toBe("");
      expect(JSON.parse(answer.stdout)).toEqual({
        thrown: "the listener's own",
        aborted: "aborted",
        failed: ["run-failed", 9, "Containerfile:4:1"],
        output: "said\n",
        closedTwice: true,
      });
      expect([...processesOf(user.uid).values()]).toEqual([]);
    });

    test.each([
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGKILL", -1],
    ] as const)("%s leaves no engine, no process, no mount", async (signal, code) => {
      const path = context(
        `signal-${signal}`,
        `${SHELL}RUN sleep 1000 & trap '' INT TERM; echo running; sleep 1001\n`,
      );
      const [program, ...args] = user.argv([process.execPath, join(users.dist, "cooper.cjs"), "build", path]);
      const child = spawn(program, args, {
        cwd: user.home,
        env: { PATH: process.env["PATH"], HOME: user.home },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let said = "";
      const running = new Promise<void>((resolve) => {
        for (const stream of [child.stdout, child.stderr])
          stream.setEncoding("utf8").on("data", (text: string) => {
            said += text;
            if (/^running$/m.test(said)) resolve();
          });
      });
      const exit = once(child, "exit") as Promise<[number | null, string | null]>;
      await running;
      expect(processesOf(user.uid).size).toBeGreaterThan(3);
      child.kill(signal);
      const [exitCode] = await exit;
      expect(exitCode ?? -1).toBe(code);
      for (let tries = 0; tries < 100 && processesOf(user.uid).size > 0; tries += 1) await sleep(50);
      expect([...processesOf(user.uid).values()]).toEqual([]);
      expect(readFileSync("/proc/mounts", "utf8")).not.toContain(user.home);
      // What was left behind is swept up by the next build that works.
      const next = context(`after-${signal}`, `${SHELL}RUN echo after ${signal}\n`);
      expect(await user.cooper("build", "-q", next)).toMatchObject({ code: 0 });
    });

    test("a slow reader slows a step down; its output does not pile up in the engine", async () => {
      const path = context("loud", `${SHELL}RUN yes | head -c 20000000; touch /v/over\n`);
      const shared = join(user.home, "shared");
      mkdirSync(shared);
      chownSync(shared, user.uid, user.uid);
      const command = [process.execPath, join(users.dist, "cooper.cjs"), "build", "--no-cache"];
      const [program, ...args] = user.argv([...command, "-v", `${shared}:/v`, path]);
      const child = spawn(program, args, {
        cwd: user.home,
        env: { PATH: process.env["PATH"], HOME: user.home },
        stdio: ["ignore", "ignore", "pipe"],
      });
      const exit = once(child, "close");
      let seen = 0;
      for await (const chunk of child.stderr as AsyncIterable<Buffer>) {
        seen += chunk.length;
        if (seen < 1_000_000) continue;
        // Whatever is to pile up has piled up by now.
        await sleep(1500);
        break;
      }
      expect(existsSync(join(shared, "over"))).toBe(false);
      const engines = [...processesOf(user.uid)].filter(([, command]) => command.includes("engine.cjs"));
      expect(engines.length).toBe(1);
      const residentKiB = Number(
        /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${engines[0]?.[0]}/status`, "utf8"))?.[1],
      );
      expect(residentKiB).toBeLessThan(200_000);
      child.kill("SIGTERM");
      child.stderr.resume();
      await exit;
    });

    test("a Containerfile on stdin reaches the engine too", async () => {
      const cooper = [
        process.execPath,
        join(users.dist, "cooper.cjs"),
        "build",
        "-f",
        "-",
        join(dir, "shell"),
      ];
      const built = await user.run(cooper, { input: `${SHELL}RUN exit 5\n` });
      expect(built.code).toBe(5);
      expect(built.stderr).toContain("stdin:4:1");
    });

    test("the store of another user is refused by name", async () => {
      expect((await asRoot("images")).code).toBe(0);
      chmodSync(dir, 0o755);
      const refused = await user.cooper("--root", join(dir, "root"), "images");
      expect(refused).toMatchObject({ code: 125 });
      expect(refused.stderr).toContain(`the store ${dir}/root belongs to root`);
      const store = join(user.home, ".local/share/cooper");
      const back = await outcomeOf(process.execPath, [
        join(users.dist, "cooper.cjs"),
        "--root",
        store,
        "images",
      ]);
      expect(back).toMatchObject({ code: 125 });
      expect(back.stderr).toContain(`the store ${store} belongs to user ${user.uid}`);
    });

    test("where no user namespace can be made, one line says so", async () => {
      const bin = join(user.home, "bin");
      mkdirSync(bin);
      writeFileSync(
        join(bin, "unshare"),
        "#!/bin/sh\necho unshare: unshare failed: Operation not permitted >&2\nexit 1\n",
        { mode: 0o755 },
      );
      const refused = await user.run(
        [process.execPath, join(users.dist, "cooper.cjs"), "build", "--no-cache", join(dir, "shell")],
        { env: { PATH: `${bin}:${process.env["PATH"]}` } },
      );
      expect(refused.code).toBe(125);
      expect(refused.stderr).toContain(
        "Error: cannot make a user namespace: unshare: unshare failed: Operation not permitted (an ordinary user needs one for isolation by native, oci and chroot)\n  hint:",
      );
    });
  });

  describe("an ordinary user without subordinate ids", () => {
    test("is warned once, and builds, runs and saves what needs no other owner", async () => {
      const built = await single.cooper("build", "-t", "shell", join(dir, "shell"));
      expect(built.code).toBe(0);
      expect(built.stderr.split("\n").filter((line) => /^Warning:.*subordinate/.test(line))).toEqual([
        expect.stringMatching(/no subordinate ids .*apt-get, USER and chown fail.*usermod --add-subuids/),
      ]);
      expect((await single.cooper("run", "--rm", "shell", "echo", "ran")).stdout).toBe("ran\n");
      expect((await single.cooper("save", "-o", join(single.home, "s.tar"), "shell")).code).toBe(0);
    });

    test("what needs another owner fails with a line that says why", async () => {
      const chown = context("chown", `${SHELL}RUN chown 5:6 /bin/busybox\n`);
      const failed = await single.cooper("build", chown);
      expect(failed.code).toBe(1);
      expect(failed.stderr).toMatch(/hint: if a chown, USER or apt-get failed: only one user id exists here/);
      const other = context("other", `${SHELL}USER 7\nRUN true\n`);
      const refused = await single.cooper("build", other);
      expect(refused.code).toBe(125);
      expect(refused.stderr).toMatch(
        /Error: cannot become user 7:.*\n(?: {2}at .*\n)? {2}hint: .*subordinate ids/,
      );
    });

    test("COPY --chown keeps the owner in the image", async () => {
      const path = context("owner", "FROM scratch\nCOPY --chown=5:6 a /a\n");
      expect((await single.cooper("build", "-q", "-t", "owner", path)).code).toBe(0);
      expect((await asRoot("build", "-q", "-t", "owner", path)).code).toBe(0);
      const layers = layersOf((await single.cooper("inspect", "owner")).stdout);
      expect(layers).toEqual(layersOf((await asRoot("inspect", "owner")).stdout));
    });
  });
});
