import { readFileSync, statSync, utimesSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

describe("a build with RUN", () => {
  test("shell, exec and heredoc forms run, and what they write is in the image", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}
RUN echo shell > /shell
RUN ["/bin/sh", "-c", "echo exec > /exec"]
RUN <<EOF
echo one > /heredoc
echo two >> /heredoc
EOF
RUN cat > /stdin <<'EOF'
literal $HOME
EOF
RUN <<EOF
#!/bin/busybox sh
echo "script $0" > /script
EOF
`;
    const build = await lab.build(file);
    expect(build.result.steps).toEqual({ cached: 0, built: 7 });
    const out = await lab.extract(build, file);
    expect(readFileSync(join(out, "shell"), "utf8")).toBe("shell\n");
    expect(readFileSync(join(out, "exec"), "utf8")).toBe("exec\n");
    expect(readFileSync(join(out, "heredoc"), "utf8")).toBe("one\ntwo\n");
    expect(readFileSync(join(out, "stdin"), "utf8")).toBe("literal $HOME\n");
    expect(readFileSync(join(out, "script"), "utf8")).toMatch(/^script /);
  });

  test("ENV, ARG, USER, WORKDIR, SHELL and --build-arg reach the process", async () => {
    await using lab = await openLab();
    lab.write({ passwd: "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n" });
    const { output } = await lab.build(
      `ARG GLOBAL=g\n${BUSYBOX_BASE}COPY passwd /etc/passwd
ARG GLOBAL
ARG WITH=default
ARG GIVEN=default
ENV E=env-$WITH
ARG E=arg
WORKDIR /work
RUN echo "$GLOBAL $WITH $GIVEN $E $(pwd)"
USER bob
RUN echo "$(id -u):$(id -g) $HOME"
SHELL ["/bin/sh", "-e", "-c"]
RUN echo "$-"; false || echo still
`,
      { buildArgs: { GIVEN: "cli" } },
    );
    expect(output).toContain("g default cli arg /work\n");
    expect(output).toContain("1000:1000 /home/bob\n");
    expect(output).toMatch(/e.*\nstill\n$/);
  });

  test("a failing RUN ends the build with its exit code and leaves earlier images whole", async () => {
    await using lab = await openLab();
    const good = await lab.build(BUSYBOX_BASE, { tags: ["good"] });
    const failure = lab.build(`${BUSYBOX_BASE}RUN exit 7\n`, { tags: ["bad"] });
    await expect(failure).rejects.toMatchObject({
      code: "run-failed",
      exitCode: 7,
      message: 'building at STEP "RUN exit 7": while running runtime: exit status 7',
      where: "Containerfile:4:1",
    });
    expect((await lab.cooper.images()).flatMap((image) => image.names)).toEqual(["localhost/good:latest"]);
    expect((await lab.cooper.inspect("good")).id).toBe(good.result.imageId);
  });

  test("nothing of the sandbox is in the layer: no /etc/hosts, /proc, /dev content", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}RUN cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null; mkdir /made\n`;
    const before = await lab.build(BUSYBOX_BASE);
    const after = await lab.build(file);
    const out = await lab.extract(after, `${file}RUN find / -xdev | sort > /list\n`);
    const list = readFileSync(join(out, "list"), "utf8").split("\n");
    expect(list).toContain("/made");
    expect(() => statSync(join(out, "etc"))).toThrow(/ENOENT/);
    expect(() => statSync(join(out, "proc"))).toThrow(/ENOENT/);
    expect(after.result.config.rootfs.diff_ids.length).toBe(before.result.config.rootfs.diff_ids.length + 1);
  });

  test("deletions, opaque directories and replaced types are seen by later steps", async () => {
    await using lab = await openLab();
    lab.write({ "t/a": "a", "t/d/b": "b" });
    const { output } = await lab.build(`${BUSYBOX_BASE}COPY t /t
RUN rm /t/a && rm -r /t/d && mkdir /t/d && echo new > /t/d/c
RUN find /t | sort
COPY t/a /t/d/
RUN find /t | sort
RUN rm -r /t && echo file > /t
RUN cat /t
`);
    expect(output).toBe("/t\n/t/d\n/t/d/c\n/t\n/t/d\n/t/d/a\n/t/d/c\nfile\n");
  });

  test("--network=none has only loopback", async () => {
    await using lab = await openLab();
    const { output } = await lab.build(`${BUSYBOX_BASE}RUN --network=none ls /sys/class/net\n`);
    expect(output.trim()).toBe("lo");
  });
});

describe("stages", () => {
  test("unused stages are skipped, names and numbers resolve, --target stops early", async () => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    const file =
      "FROM scratch AS one\nCOPY a /one\nFROM scratch AS unused\nCOPY missing /\nFROM one AS Two\nCOPY a /two\nFROM two\nCOPY --from=ONE /one /three\n";
    const whole = await lab.build(file);
    expect(whole.built).toEqual(["COPY a /one", "COPY a /two", "COPY --from=ONE /one /three"]);
    const early = await lab.build(file, { target: "one" });
    expect(early.cached).toEqual(["COPY a /one"]);
    await expect(lab.build(file, { target: "nope" })).rejects.toThrow(/has no stage "nope"/);
  });

  test("independent stages run side by side", async () => {
    await using lab = await openLab();
    // Neither RUN gets an answer before both have asked.
    const waiting: Socket[] = [];
    const server = createServer((socket) => {
      waiting.push(socket.on("error", () => undefined));
      if (waiting.length === 2) for (const each of waiting) each.end("go\n");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const meet = `RUN echo here | nc -w 60 127.0.0.1 ${port} | grep -q go`;
    try {
      const build = lab.build(
        `${BUSYBOX_BASE}FROM base AS a\n${meet}\nFROM base AS b\n${meet} && true\nFROM base\nCOPY --from=a /bin/busybox /a\nCOPY --from=b /bin/busybox /b\n`,
        { jobs: 2, network: "host" },
      );
      await expect(build).resolves.toMatchObject({ result: { steps: { cached: 0 } } });
    } finally {
      server.close();
    }
  });
});

describe("config instructions", () => {
  test("all of them end up in the config as docker writes it", async () => {
    await using lab = await openLab();
    const { result } = await lab.build(
      `FROM scratch
MAINTAINER somebody
ENV A=1 B="two words"
ENV A=3 C=$A
LABEL x=1 "y z"='q r'
EXPOSE 80 8000-8002/udp
VOLUME /data
VOLUME ["/with space"]
USER 12:13
WORKDIR /w
WORKDIR sub
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost
ONBUILD RUN echo child
CMD ["a", "b"]
ENTRYPOINT run it
`,
      { labels: { cli: "it's $A" } },
    );
    expect(result.config.author).toBe("somebody");
    expect(result.config.config).toEqual({
      User: "12:13",
      ExposedPorts: { "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "8002/udp": {} },
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=3", "B=two words", "C=1"],
      Entrypoint: ["/bin/bash", "-c", "run it"],
      Cmd: ["a", "b"],
      Volumes: { "/data": {}, "/with space": {} },
      WorkingDir: "/w/sub",
      Labels: { x: "1", "y z": "q r", cli: "it's $A" },
      StopSignal: "SIGQUIT",
      Healthcheck: { Test: ["CMD-SHELL", "curl localhost"], Interval: 90_000_000_000, Retries: 3 },
      OnBuild: ["RUN echo child"],
      Shell: ["/bin/bash", "-c"],
    });
  });

  test("ENTRYPOINT clears an inherited CMD, not the stage's own", async () => {
    await using lab = await openLab();
    const { result } = await lab.build('FROM scratch AS a\nCMD ["x"]\nFROM a\nENTRYPOINT ["e"]\n');
    expect(result.config.config.Cmd).toBeUndefined();
    const own = await lab.build('FROM scratch AS a\nCMD ["x"]\nFROM a\nCMD ["y"]\nENTRYPOINT ["e"]\n');
    expect(own.result.config.config.Cmd).toEqual(["y"]);
  });
});

describe("the cache", () => {
  const file = `${BUSYBOX_BASE}ARG V=1
COPY src /src
RUN cat /src/one > /made
ENV DONE=yes
CMD ["/bin/sh"]
`;

  test("a second build is all cached and gives the same image", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1", "src/two": "2" });
    const first = await lab.build(file);
    const second = await lab.build(file);
    expect(second.built).toEqual([]);
    expect(second.result.imageId).toBe(first.result.imageId);
  });

  test("one changed file rebuilds only what depends on it, and says why", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1", "src/two": "2" });
    await lab.build(file);
    lab.write({ "src/two": "changed" });
    const next = await lab.build(file);
    expect(next.cached).toEqual([
      "COPY busybox /bin/busybox",
      'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
      "ARG V=1",
    ]);
    expect(next.built.slice(0, 2)).toEqual(["COPY src /src", "RUN cat /src/one > /made"]);
    expect(next.reasons.get("COPY src /src")).toBe("src/two changed");
    expect(next.reasons.get("RUN cat /src/one > /made")).toBe("an earlier step changed");
  });

  test("mtime and directory order do not matter; mode and content do", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1", "src/two": "2" });
    await lab.build(file);
    utimesSync(join(lab.context, "src/one"), 1, 1);
    expect((await lab.build(file)).built).toEqual([]);
    lab.write({ "src/one": { text: "1", mode: 0o755 } });
    expect((await lab.build(file)).reasons.get("COPY src /src")).toMatch(/mode of src\/one/);
  });

  test("a build arg that a step does not read is named as such; ARG after it does not matter", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1" });
    await lab.build(file);
    const next = await lab.build(file, { buildArgs: { V: "2" } });
    expect(next.cached).toContain("COPY src /src");
    expect(next.reasons.get("RUN cat /src/one > /made")).toBe(
      "ARG V changed, and this step does not read it",
    );
  });

  test("a changed LABEL does not rebuild what comes after it, and a step with the same result rejoins", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1" });
    const labelled = (value: string): string =>
      `${BUSYBOX_BASE}LABEL v=${value}\nRUN touch -d @1 /x && touch -d @1 /\nRUN echo kept > /y\n`;
    await lab.build(labelled("1"));
    const next = await lab.build(labelled("2"));
    expect(next.built).toEqual(["LABEL v=2"]);
    expect(next.result.config.config.Labels).toEqual({ v: "2" });
  });

  test("cache: false builds every step again", async () => {
    await using lab = await openLab();
    lab.write({ "src/one": "1" });
    await lab.build(file);
    expect((await lab.build(file, { cache: false })).cached).toEqual([]);
  });

  test("a COPY --from is cached by content: a rebuilt stage with the same files changes nothing", async () => {
    await using lab = await openLab();
    const staged = (n: string): string =>
      `${BUSYBOX_BASE}FROM base AS b\nRUN echo ${n} > /noise; echo same > /out\nFROM scratch\nCOPY --from=b /out /out\n`;
    await lab.build(staged("1"));
    const next = await lab.build(staged("2"));
    expect(next.built).toEqual([`RUN echo 2 > /noise; echo same > /out`]);
  });
});
