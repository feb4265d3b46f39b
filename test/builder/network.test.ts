import { readFileSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import { describeWith } from "../support/packages.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";

describeWith(["root", "busybox", "slirp4netns", "tun"], "the network of RUN", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await openLab();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** What a command says in a RUN. */
  async function said(command: string, options: Partial<BuildOptions> = {}, flags = ""): Promise<string> {
    const file = `${BUSYBOX_BASE}RUN echo @; ${command}\n`.replace("RUN echo @", `RUN ${flags} echo @`);
    const { output, events } = await lab.build(file, { cache: false, ...options });
    expect(events.filter(({ type }) => type === "warning")).toEqual([]);
    return output.slice(output.indexOf("@\n") + 2);
  }
  const machine = readFileSync("/etc/resolv.conf", "utf8");

  test("is one namespace for all steps of a build, and not this machine's", async () => {
    const look = "RUN readlink /proc/self/ns/net\n";
    const { output } = await lab.build(
      `${BUSYBOX_BASE}${look}${look}FROM base\n${look}COPY --from=0 /bin/sh /sh\n`,
    );
    const names = output.trim().split("\n");
    expect(names).toHaveLength(3);
    expect(new Set(names).size).toBe(1);
    expect(names[0]).not.toBe(readlinkSync("/proc/self/ns/net"));
  });

  test("asks this machine's resolvers through the forwarder, itself, or nobody", async () => {
    expect(await said("cat /etc/resolv.conf")).toMatch(/^nameserver 10\.0\.2\.3$/m);
    expect(await said("cat /etc/resolv.conf", { network: "host" })).toBe(machine);
    expect(await said("cat /etc/resolv.conf", { network: "none" })).toBe("");
    expect(await said("cat /etc/resolv.conf", {}, "--network=none")).toBe("");
  });

  test("--dns, --dns-search and --dns-option", async () => {
    const options = {
      dns: ["192.0.2.53", "2001:db8::53"],
      dnsSearch: ["a.example", "b.example"],
      dnsOptions: ["ndots:3"],
    };
    const text =
      "search a.example b.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:3\n";
    expect(await said("cat /etc/resolv.conf", options)).toBe(text);
    expect(await said("cat /etc/resolv.conf", { ...options, network: "host" })).toBe(text);
    expect(await said("cat /etc/resolv.conf", options, "--network=none")).toBe("");
    expect(await said("cat /etc/resolv.conf", { dnsSearch: ["."] })).not.toContain("search");
    expect(await said("ls -l /etc/resolv.conf; true", { dns: ["none"] })).toContain("No such file");
  });

  test("--add-host comes before this machine's own names; host-gateway is this machine", async () => {
    const addHosts = ["db;db.local:10.1.2.3", "six:[2001:db8::1]", "docker=10.1.2.4", "me:host-gateway"];
    const lines = (await said("cat /etc/hosts", { addHosts })).split("\n");
    const mine = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.internal === false && each.family === "IPv4");
    expect(lines.slice(0, 4)).toEqual([
      "10.1.2.3\tdb db.local",
      "2001:db8::1\tsix",
      "10.1.2.4\tdocker",
      `${mine?.address}\tme`,
    ]);
    expect((await said("cat /etc/hosts", { addHosts, network: "host" })).split("\n")[3]).toBe(
      "127.0.0.1\tme",
    );
  });

  test("--hostname, --no-hostname and --no-hosts", async () => {
    expect(await said("hostname; cat /etc/hostname; tail -n 1 /etc/hosts", { hostname: "box.example" })).toBe(
      "box.example\nbox.example\n127.0.1.1\tbox.example\n",
    );
    expect(await said("ls /etc", { noHostname: true, noHosts: true })).toBe("resolv.conf\n");
  });

  test.each<readonly [Partial<BuildOptions>, string]>([
    [{ network: "bridge" as "host" }, 'there is no network "bridge": it can be private, host, none'],
    [{ addHosts: ["a"] }, '--add-host: "a" is not NAME:ADDRESS or NAME:host-gateway'],
    [{ addHosts: ["a:b"] }, '--add-host: "a:b" is not NAME:ADDRESS or NAME:host-gateway'],
    [{ addHosts: ["a\nb:1.2.3.4"] }, "is not NAME:ADDRESS or NAME:host-gateway"],
    [{ addHosts: ["a:1.2.3.4"], noHosts: true }, "--no-hosts and --add-host exclude each other"],
    [{ dns: ["example.org"] }, '--dns: "example.org" is not an IP address'],
    [{ dns: ["none", "1.1.1.1"] }, "excludes other --dns options"],
    [{ dns: ["1.1.1.1"], network: "none" }, "--dns is of no use with --network=none"],
    [{ dnsSearch: ["a b"] }, '"a b" cannot stand in /etc/resolv.conf'],
    [{ hostname: "a/b" }, '"a/b" cannot be a host name'],
    [{ hostname: "a".repeat(65) }, "cannot be a host name"],
  ])("%j is refused", async (options, message) => {
    const events: string[] = [];
    const build = lab.build(`${BUSYBOX_BASE}RUN true\n`, {
      ...options,
      onEvent: ({ type }) => events.push(type),
    });
    await expect(build).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(message) as string,
    });
    expect(events).toEqual([]);
  });

  test("names are part of a step's key, resolvers are not", async () => {
    const file = `${BUSYBOX_BASE}RUN echo names\n`;
    const built = async (options: Partial<BuildOptions>): Promise<number> =>
      (await lab.build(file, options)).result.steps.built;
    await built({});
    expect(await built({ dns: ["192.0.2.53"] })).toBe(0);
    expect(await built({ addHosts: ["a:1.2.3.4"] })).toBe(2);
    expect(await built({ addHosts: ["a:1.2.3.4"] })).toBe(0);
    expect(await built({ hostname: "other" })).toBe(2);
    expect(await built({ network: "host" })).toBeGreaterThan(0);
    expect(await built({ network: "private" })).toBe(0);
  });

  test("a proxy at this machine's loopback is told once, without its password", async () => {
    const proxies = { HTTP_PROXY: "http://me:secret@127.0.0.1:3128", https_proxy: "localhost:3128" };
    const step = 'RUN echo "$HTTP_PROXY" | wc -c\n';
    const { events } = await lab.build(`${BUSYBOX_BASE}${step}${step}`, { cache: false, buildArgs: proxies });
    expect(events.filter(({ type }) => type === "warning")).toEqual([
      {
        type: "warning",
        code: "proxy",
        message:
          "HTTP_PROXY leads to 127.0.0.1:3128, where a process with a network of its own does not find this machine's " +
          "proxy: use --network=host, or name an address of this machine at which it listens",
      },
    ]);
  });

  test("also one of the image, and of a container", async () => {
    const image = await lab.build(`${BUSYBOX_BASE}ENV all_proxy=socks5h://[::1]:1080\nRUN true\n`);
    const warning = expect.objectContaining({
      type: "warning",
      message: expect.stringMatching(/^all_proxy leads to \[::1\]:1080, /) as string,
    }) as object;
    expect(image.events).toContainEqual(warning);
    const events: object[] = [];
    await lab.cooper.run(image.result.imageId, {
      command: ["true"],
      onEvent: (event) => void events.push(event),
    });
    expect(events).toContainEqual(warning);
  });

  test.each([
    [{ http_proxy: "http://192.0.2.1:3128", no_proxy: "localhost,127.0.0.1" }, {}],
    [{ http_proxy: "http://127.0.0.1:3128" }, { network: "host" }],
    [{ http_proxy: "http://127.0.0.1:3128" }, { network: "none" }],
    [{ http_proxy: "not a proxy" }, {}],
  ] as const)("nothing is said of %j with %j", async (buildArgs, options) => {
    expect(await said("echo fine", { buildArgs, ...options })).toBe("fine\n");
  });
});
