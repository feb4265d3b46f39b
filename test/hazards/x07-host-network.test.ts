import { mkdirSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { privateNetwork } from "../../src/runtime/index.js";
import type { PrivateNetwork, SandboxMount, SandboxPlan } from "../../src/runtime/index.js";
import { describeWith } from "../support/packages.js";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";

/** Hazard X07 (CVE-2020-15257): what listens on this machine's loopback or on an abstract socket is no business of a step. */
describeWith(["root", "slirp4netns", "tun", "perl"], "the network of a step", () => {
  let bench: Bench;
  let network: PrivateNetwork;
  let servers: readonly Server[];
  let host: Partial<SandboxPlan>;
  let own: Partial<SandboxPlan>;
  const abstract = `\0cooper-canary-${process.pid}`;

  beforeAll(async () => {
    bench = openBench();
    network = privateNetwork();
    servers = [createServer((socket) => socket.end("canary\n")), createServer((s) => s.end("canary\n"))];
    const [tcp, unix] = servers;
    await new Promise<void>((resolve) => tcp?.listen(0, "127.0.0.1", resolve));
    await new Promise<void>((resolve) => unix?.listen(abstract, resolve));
    const outcome = await network.open();
    if (outcome.kind !== "private") throw new Error(outcome.reason);
    const layer = bench.layer();
    for (const name of ["lib", "lib64"]) symlinkSync(`usr/${name}`, join(layer, name));
    mkdirSync(join(layer, "usr"));
    const usr: SandboxMount = { type: "bind", source: "/usr", target: "/usr", readOnly: true };
    const common = { lowerDirs: [layer, bench.base], mounts: [usr] };
    host = { ...common, network: "host" };
    own = { ...common, network: "private", networkNamespace: outcome.namespace };
  });
  afterAll(async () => {
    for (const server of servers) server.close();
    await network[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
  });

  const address = (): string => {
    const found = servers[0]?.address();
    return String(typeof found === "object" && found !== null ? found.port : 0);
  };
  const connect = (to: string): string => `nc -w 3 ${to} ${address()} </dev/null 2>&1 || echo refused`;

  test("a loopback service of this machine is heard with its network, and not with a private one", async () => {
    expect((await bench.sh(connect("127.0.0.1"), host)).stdout).toBe("canary\n");
    expect((await bench.sh(connect("127.0.0.1"), own)).stdout).toMatch(/refused\n$/);
    expect((await bench.sh(connect("localhost"), own)).stdout).toMatch(/refused\n$/);
    expect((await bench.sh(connect("::1"), own)).stdout).toMatch(/refused\n$/);
  });

  test("nor through the gateway or the name server of a private one", async () => {
    for (const way of ["10.0.2.2", "10.0.2.3"])
      expect((await bench.sh(connect(way), own)).stdout).not.toContain("canary");
  });

  test("an abstract socket is heard with this machine's network, and not with a private one", async () => {
    // Some versions of Node fill the name up with NULs.
    const script = [
      `use Socket; $name = "\\0$ARGV[0]"; socket(S, AF_UNIX, SOCK_STREAM, 0);`,
      `connect(S, pack_sockaddr_un($name)) or connect(S, pack("Sa108", AF_UNIX, $name)) or die "refused\\n"; print <S>`,
    ].join("\n");
    const argv = ["/usr/bin/perl", "-e", script, abstract.slice(1)];
    expect((await bench.run(argv, host)).stdout).toBe("canary\n");
    const { stdout, stderr } = await bench.run(argv, own);
    expect([stdout, stderr]).toEqual(["", "refused\n"]);
  });

  test("a cloud's metadata service cannot be reached, and the way cannot be made", async () => {
    const { stdout } = await bench.sh(
      "nc -w 3 169.254.169.254 80 </dev/null 2>&1; nc -w 3 169.254.170.2 80 2>&1",
      own,
    );
    expect(stdout.match(/No route to host/g)).toHaveLength(2);
    const way = "ip route del unreachable 169.254.0.0/16 2>&1; ip addr add 169.254.1.1/16 dev tap0 2>&1";
    expect((await bench.sh(way, own)).stdout.match(/Operation not permitted/g)).toHaveLength(2);
  });

  test("the machine's own addresses stay reachable, as from any other machine", async () => {
    const mine = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.internal === false && each.family === "IPv4");
    if (!mine) throw new Error("this machine has no address");
    const server = createServer((socket) => socket.end("hello\n"));
    await new Promise<void>((resolve) => server.listen(0, mine.address, resolve));
    const found = server.address();
    const port = typeof found === "object" && found !== null ? found.port : 0;
    expect((await bench.sh(`nc -w 3 ${mine.address} ${port} </dev/null`, own)).stdout).toBe("hello\n");
    server.close();
  });

  test("/sys shows the private network's interfaces only", async () => {
    expect((await bench.sh("ls /sys/class/net", own)).stdout).toBe("lo\ntap0\n");
  });
});
