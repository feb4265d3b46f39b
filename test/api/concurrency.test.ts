import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

const STEPS = `${BUSYBOX_BASE}FROM base\nCOPY a /a\nRUN sleep 0.2; cat /a > /b\nCOPY --from=base /bin/busybox /again\nRUN sleep 0.2; cat /b > /c\n`;

describeWith(["root", "mounts", "busybox"], "one store, many users", () => {
  test("what a build uses is not removed under it by the same process", async () => {
    await using lab = await openLab();
    for (const round of [1, 2, 3]) {
      lab.write({ a: `round ${round}` });
      let isOver = false;
      const building = lab.build(STEPS, { tags: ["kept"] }).finally(() => (isOver = true));
      while (!isOver) {
        await lab.cooper.remove([], { all: true });
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await building;
      // The last removal may have come after the name was given: then it is built again.
      await lab.build(STEPS, { tags: ["kept"] });
      const chunks: Uint8Array[] = [];
      await lab.cooper.run("kept", { command: ["cat", "/c"], onOutput: (_, chunk) => chunks.push(chunk) });
      expect(Buffer.concat(chunks).toString()).toBe(`round ${round}`);
    }
  });

  test("nor by another process", async () => {
    await using lab = await openLab();
    lab.write({ a: "text" });
    const root = join(lab.dir, "root");
    const loop = `while :; do "$0" dist/cooper.cjs --root "$1" rmi --all --force || :; done`;
    const remover = spawn("sh", ["-c", loop, process.execPath, root], { stdio: "ignore", detached: true });
    try {
      for (const round of [1, 2]) {
        lab.write({ a: `round ${round}` });
        const { result } = await lab.build(STEPS, { tags: ["kept"] });
        expect(result.imageId).toMatch(/^sha256:/);
      }
    } finally {
      const exit = once(remover, "exit");
      process.kill(-(remover.pid ?? 0), "SIGKILL");
      await exit;
    }
    await lab.build(STEPS, { tags: ["kept"] });
    expect(await lab.cooper.run("kept", { command: ["test", "-s", "/c"] })).toBe(0);
  });

  test("two open stores on one root build at once and agree", async () => {
    await using lab = await openLab();
    lab.write({ a: "text" });
    await using other = await openCooper({ root: join(lab.dir, "root") });
    const containerfile = `${BUSYBOX_BASE}COPY a /a\nENV A=1\n`;
    const options = { contextDir: lab.context, containerfile };
    const [one, two] = await Promise.all([
      lab.cooper.build({ ...options, tags: ["one"] }),
      other.build({ ...options, tags: ["two"] }),
    ]);
    const last = (config: typeof one.config): string | undefined => config.rootfs.diff_ids.at(-1);
    expect(last(one.config)).toBe(last(two.config));
    for (const name of ["one", "two"])
      expect(await other.run(name, { command: ["test", "-f", "/a"] })).toBe(0);
  });

  test("closing twice is closing once", async () => {
    const root = mkdtempSync(join(tmpdir(), "cooper-twice-"));
    const cooper = await openCooper({ root });
    await cooper.build({ contextDir: root, containerfile: "FROM scratch\nENV A=1\n" });
    await Promise.all([cooper[Symbol.asyncDispose](), cooper[Symbol.asyncDispose]()]);
    await cooper[Symbol.asyncDispose]();
    await using next = await openCooper({ root });
    expect((await next.images({ all: true })).length).toBe(1);
    rmSync(root, { recursive: true, force: true });
  });

  test("sockets of a context are left out, and each is told once", async () => {
    await using lab = await openLab();
    mkdirSync(join(lab.context, "run"));
    writeFileSync(join(lab.context, "run/file"), "x");
    const server = createServer().listen(join(lab.context, "run/app.sock"));
    await once(server, "listening");
    try {
      const build = await lab.build("FROM scratch\nCOPY run /run\nCOPY run /again\n");
      const warnings = build.events.filter((event) => event.type === "warning");
      expect(warnings).toEqual([
        {
          type: "warning",
          code: "socket",
          message: 'socket "run/app.sock" is left out: an image cannot hold sockets',
        },
      ]);
    } finally {
      server.close();
    }
  });

  test("a listener that throws ends the build with its error", async () => {
    await using lab = await openLab();
    const failure = new Error("the listener's own");
    const onEvent = (): never => {
      throw failure;
    };
    await expect(
      lab.cooper.build({ contextDir: lab.context, containerfile: BUSYBOX_BASE, onEvent }),
    ).rejects.toBe(failure);
  });

  test("a fully cached build loads nothing that it does not need", async () => {
    await using lab = await openLab();
    const root = join(lab.dir, "root");
    writeFileSync(
      join(lab.context, "Containerfile"),
      STEPS.replaceAll("sleep 0.2; ", "").replaceAll("COPY --from=base /bin/busybox /again\n", ""),
    );
    lab.write({ a: "1" });
    const cooper = ["dist/cooper.cjs", "--root", root, "build", "-q", lab.context];
    execFileSync(process.execPath, cooper);
    const probe = join(lab.dir, "probe.cjs");
    const list = join(lab.dir, "list");
    writeFileSync(
      probe,
      `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(list)}, process.moduleLoadList.join("\\n")));`,
    );
    execFileSync(process.execPath, ["--require", probe, ...cooper]);
    const loaded = new Set(execFileSync("cat", [list], { encoding: "utf8" }).split("\n"));
    expect(loaded.has("NativeModule fs")).toBe(true);
    const unwanted = [
      "net",
      "child_process",
      "fs/promises",
      "tty",
      "zlib",
      "perf_hooks",
      "http",
      "https",
      "tls",
      "dns",
      "worker_threads",
    ];
    expect(unwanted.filter((name) => loaded.has(`NativeModule ${name}`))).toEqual([]);
  });
});
