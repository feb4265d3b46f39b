import { describe, expect, test } from "vitest";
import type { ProcessConfig } from "../../src/image/index.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

async function configOf(body: string): Promise<ProcessConfig> {
  await using lab = await openLab();
  return (await lab.build(`FROM scratch\n${body}\n`)).result.config.config;
}

describe("values in the config, as BuildKit writes them", () => {
  test.each<[string, Partial<ProcessConfig>]>([
    [
      "EXPOSE 8080:80 127.0.0.1:5353:53/udp 443/",
      { ExposedPorts: { "80/tcp": {}, "53/udp": {}, "443/tcp": {} } },
    ],
    ['ENV p="80 90-91"\nEXPOSE $p $none', { ExposedPorts: { "80/tcp": {}, "90/tcp": {}, "91/tcp": {} } }],
    ["WORKDIR /a\nWORKDIR $none", { WorkingDir: "/a" }],
    ["WORKDIR /a//b/../c/", { WorkingDir: "/a//b/../c/" }],
    ["WORKDIR /a/../b\nWORKDIR c/", { WorkingDir: "/b/c/" }],
    ["WORKDIR ~/x", { WorkingDir: "/~/x" }],
    ["STOPSIGNAL sigterm", { StopSignal: "sigterm" }],
    ["STOPSIGNAL RTMAX-2", { StopSignal: "RTMAX-2" }],
    ["STOPSIGNAL 37", { StopSignal: "37" }],
    ["CMD a\nENTRYPOINT b", { Cmd: ["/bin/sh", "-c", "a"], Entrypoint: ["/bin/sh", "-c", "b"] }],
    ['SHELL ["z"]\nHEALTHCHECK CMD a b', { Healthcheck: { Test: ["CMD-SHELL", "a b"] } }],
    ["HEALTHCHECK CMD a\nHEALTHCHECK NONE", { Healthcheck: { Test: ["NONE"] } }],
  ])("%j", async (body, expected) => {
    expect(await configOf(body)).toMatchObject(expected);
  });

  test("an empty USER is none", async () => {
    expect((await configOf("USER u\nUSER $none")).User).toBeUndefined();
  });

  test("ENTRYPOINT drops the CMD of a stage below", async () => {
    await using lab = await openLab();
    const { result } = await lab.build('FROM scratch AS a\nCMD ["y"]\nFROM a\nENTRYPOINT ["x"]\n');
    expect(result.config.config).toMatchObject({ Entrypoint: ["x"] });
    expect(result.config.config.Cmd).toBeUndefined();
  });

  test.each([
    ["STOPSIGNAL SIGTREM", "did you mean SIGTERM?"],
    ["STOPSIGNAL 0", undefined],
    ["STOPSIGNAL SIGRTMIN+16", undefined],
    ["EXPOSE 80/foo", undefined],
    ["EXPOSE 90-80", undefined],
  ])("%s is refused", async (body, hint) => {
    await expect(configOf(body)).rejects.toMatchObject({ code: "syntax", hint });
  });
});

test("the history tells instructions with their variables filled in", async () => {
  await using lab = await openLab();
  lab.write({ f: "f" });
  const body = [
    "ARG A=1 B",
    "ENV old some  thing",
    'LABEL "k e"="v $A"',
    "EXPOSE 90/UDP 80",
    "VOLUME /v$A /w",
    "WORKDIR d",
    "COPY --from=x --chown=$A:2 f $A/f",
    "COPY <<E /e\nE",
    'SHELL ["/bin/b", "-c"]',
    'CMD say "x"',
    'ENTRYPOINT ["p", "q r"]',
    "USER u$A",
    "MAINTAINER me $A",
  ].join("\n");
  const { result } = await lab.build(`FROM scratch AS x\nCOPY f /\nFROM scratch\n${body}\n`);
  expect(result.config.history.map((entry) => entry.created_by)).toEqual([
    "ARG A=1 B",
    "ENV old=some  thing",
    "LABEL k e=v 1",
    "EXPOSE [80/tcp 90/udp]",
    "VOLUME [/v1 /w]",
    "WORKDIR /d",
    "COPY --chown=1:2 f 1/f",
    "COPY <<E /e",
    "SHELL [/bin/b -c]",
    'CMD ["/bin/b" "-c" "say \\"x\\""]',
    'ENTRYPOINT ["p" "q r"]',
    "USER u1",
    "MAINTAINER me $A",
  ]);
});

test("the history of a RUN with a heredoc ends with its delimiter", async () => {
  await using lab = await openLab();
  const { result } = await lab.build(`${BUSYBOX_BASE}RUN cat <<E\n$HOME\nE\n`);
  expect(result.config.history.at(-1)?.created_by).toBe("RUN /bin/sh -c cat <<E\n$HOME\nE");
});
