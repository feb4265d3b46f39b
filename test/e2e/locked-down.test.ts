import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Diagnosis } from "../../src/cooper.js";
import { BASE_SUITE, debianBaseTar } from "../support/base-image.js";
import { makeLockedDown } from "../support/locked-down.js";
import type { LockedDown } from "../support/locked-down.js";
import { describeWith } from "../support/packages.js";
import { startRegistry } from "../support/registry.js";
import { execute } from "./command.js";
import type { CommandResult } from "./command.js";

const dist = fileURLToPath(new URL("../../dist", import.meta.url));
const COOPER = "node /opt/cooper/dist/cooper.cjs";

/** A CI job as docker starts one: where builders that mount give up. */
describeWith(
  ["root", "mounts", "apt", "mmdebstrap", "docker-registry", "skopeo", "umoci", "runc"],
  "a job that may neither mount nor make a namespace",
  () => {
    let dir: string;
    let job: LockedDown;
    let registry: Awaited<ReturnType<typeof startRegistry>>;
    let base: string;
    let destination: string;

    const run = (script: string, mayFail = false): Promise<CommandResult> => {
      const [file, ...args] = job.command(script);
      return execute(file, args, { mayFail });
    };

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), "cooper-locked-"));
      const tar = await debianBaseTar();
      registry = await startRegistry();
      base = `${registry.host}/debian:${BASE_SUITE}`;
      destination = `${registry.host}/team/tool:1.0`;
      mkdirSync(join(dir, "job"));
      job = makeLockedDown(join(dir, "job"), tar, dist);
      const context = join(job.lower, "root/context");
      mkdirSync(context, { recursive: true });
      cpSync(tar, join(job.lower, "root/base/base.tar"));
      writeFileSync(join(job.lower, "root/base/Containerfile"), "FROM scratch\nADD base.tar /\n");
      writeFileSync(join(context, "greeting"), "good morning\n");
      writeFileSync(join(context, "Containerfile"), containerfile());
    }, 600_000);

    afterAll(async () => {
      await registry?.stop();
      if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
    });

    const containerfile = (): string => `FROM ${base} AS build
RUN apt-get update && apt-get install -y --no-install-recommends hello iputils-ping
RUN rm /usr/share/doc/hello/copyright && setcap cap_net_raw+ep /bin/ping || true
WORKDIR /src
COPY greeting ./
RUN <<EOF
set -e
test "$(cat greeting)" = "good morning"
hello > /src/said
ln said also
chown nobody said
sleep 1000 &
EOF
RUN --mount=type=cache,target=/var/cache/own echo x >> /var/cache/own/runs && cp /var/cache/own/runs /src/runs

FROM ${base}
COPY --from=build /src /src
COPY --from=build /usr/bin/hello /usr/bin/hello
USER nobody
RUN test "$(id -un)" = nobody && echo "mine" > /tmp/mine && ! mkdir /proc/x 2>/dev/null
CMD ["hello"]
`;

    test("is one: no mount, no unshare, no whiteout, no attribute of overlayfs, and an overlay below", async () => {
      const result = await run(
        "stat -f -c %T /; unshare -m true || echo no unshare; mount -t tmpfs none /mnt || echo no mount; mknod /w c 0 0 || echo no whiteout; mknod /n c 1 3 && rm /n && echo devices",
      );
      expect(result.stdout.split("\n").filter(Boolean)).toEqual([
        "overlayfs",
        "no unshare",
        "no mount",
        "no whiteout",
        "devices",
      ]);
    });

    test("builds an image that installs packages, and pushes it", async () => {
      await run(
        `cd /root/base && ${COOPER} build --isolation chroot -t ${base} . && ${COOPER} push --tls-verify=false ${base} && rm base.tar`,
      );
      const result = await run(
        `cd /root/context && ${COOPER} build --tls-verify=false -t ${destination} . && ${COOPER} push --tls-verify=false ${destination}`,
      );
      expect(result.output).toContain("Setting up hello");
      expect(result.output.match(/they share processes, network/g)).toHaveLength(1);
    }, 600_000);

    test("builds it again from the cache alone", async () => {
      const result = await run(`cd /root/context && ${COOPER} build --tls-verify=false -t ${destination} .`);
      expect(result.output).not.toContain("Cache miss");
      expect(result.output).toContain("Using cache");
    });

    test("other tools read what it pushed, and nothing that was lent to a step is in it", async () => {
      const layout = join(dir, "layout");
      await execute("skopeo", [
        "copy",
        "--src-tls-verify=false",
        `docker://${destination}`,
        `oci:${layout}:tool`,
      ]);
      const bundle = join(dir, "unpacked");
      await execute("umoci", ["unpack", "--image", `${layout}:tool`, bundle]);
      const rootfs = join(bundle, "rootfs");
      const manifest = await execute("skopeo", ["inspect", "--raw", `oci:${layout}:tool`]);
      const { layers } = JSON.parse(manifest.stdout) as {
        readonly layers: readonly { readonly digest: string }[];
      };
      const members = await execute("tar", [
        "-tzf",
        join(layout, "blobs/sha256", (layers.at(-1)?.digest ?? "").slice("sha256:".length)),
      ]);
      expect(members.stdout.split("\n").filter(Boolean)).toEqual(["tmp/", "tmp/mine"]);
      const stat = await execute("stat", ["-c", "%n %u %h", "src/said", "src/also", "tmp/mine", "src/runs"], {
        cwd: rootfs,
      });
      expect(stat.stdout).toBe("src/said 65534 2\nsrc/also 65534 2\ntmp/mine 65534 1\nsrc/runs 0 1\n");
      expect((await execute("chroot", [rootfs, "/usr/bin/hello"])).stdout).toBe("Hello, world!\n");
    });

    test("doctor says that chroot is picked, and what to change for native", async () => {
      const { stdout } = await run(`${COOPER} doctor --json`);
      const { chosen, drivers, checks } = JSON.parse(stdout) as Diagnosis;
      expect(chosen).toBe("chroot");
      expect(drivers[0]).toMatchObject({ name: "native", ok: false, call: "unshare", errno: "EPERM" });
      expect(drivers[0]?.advice).toContain("GitLab Runner: `privileged = true` in [runners.docker]");
      expect(drivers[0]?.advice).toContain('`cap_add = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]`');
      const mount = checks.find(({ name }) => name === "mount");
      expect(mount).toMatchObject({ ok: false, call: "unshare", errno: "EPERM" });
      const tun = checks.find(({ name }) => name === "/dev/net/tun");
      expect(tun).toMatchObject({ ok: false, call: "open", errno: "ENOENT" });
      expect(tun?.advice).toContain('devices = ["/dev/net/tun"]');
    });

    test("refuses what cannot be had there, with its place", async () => {
      const result = await run(
        `mkdir /c && printf 'FROM ${base}\\nRUN --network=none true\\n' > /c/Containerfile && ${COOPER} build --isolation chroot --tls-verify=false /c`,
        true,
      );
      expect(result.status).not.toBe(0);
      expect(result.output).toMatch(/needs a network namespace[^]*Containerfile:2:/);
    });
  },
);
