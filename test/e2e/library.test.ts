import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeBusyboxRootfs } from "../support/busybox-rootfs.js";
import { describeWith } from "../support/packages.js";
import { openPeers, type Peers } from "../support/peers.js";
import { startRegistry } from "../support/registry.js";
import { execute } from "./command.js";

const script = fileURLToPath(new URL("../../examples/build-and-push/build-and-push.mjs", import.meta.url));

describeWith(
  ["root", "mounts", "busybox", "docker-registry", "openssl", "skopeo"],
  "examples/build-and-push",
  () => {
    const user = "builder";
    const password = "correct horse";
    let dir: string;
    let peers: Peers;
    let registry: Awaited<ReturnType<typeof startRegistry>>;
    let env: Readonly<Record<string, string>>;

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), "cooper-library-"));
      peers = openPeers();
      registry = await startRegistry({ tls: true, htpasswd: { user, password } });
      env = {
        COOPER_ROOT: join(dir, "store"),
        REGISTRY_CREDS: `${user}:${password}`,
        REGISTRY_CERTS: registry.certDir,
      };
      mkdirSync(join(dir, "context"));
      writeBusyboxRootfs(join(dir, "context/rootfs"));
      writeFileSync(
        join(dir, "context/Containerfile"),
        'FROM scratch\nCOPY rootfs /\nENV PATH=/bin\nRUN echo from a script > /origin\nCMD ["cat", "/origin"]\n',
      );
    });

    afterAll(async () => {
      await peers?.close();
      await registry?.stop();
      if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
    });

    test("builds and pushes from a script", async () => {
      const name = `${registry.host}/from/script:1`;
      const once = (): ReturnType<typeof execute> =>
        execute(process.execPath, [script, join(dir, "context"), name], { env });
      const first = await once();
      const digest = /pushed \S+@(sha256:[0-9a-f]{64})/.exec(first.stdout)?.[1];
      expect(first.stdout).toMatch(/built sha256:[0-9a-f]{64}: 0 steps from the cache/);
      const access = ["--creds", `${user}:${password}`, "--cert-dir", registry.certDir];
      const { stdout } = await peers.skopeo(["inspect", ...access, `docker://${name}`]);
      expect(JSON.parse(stdout)).toMatchObject({ Digest: digest, Os: "linux" });

      const second = await once();
      expect(second.stdout).toContain(", 0 run");
      expect(second.stdout).toContain(`@${digest}`);
    });

    test("says in one line what went wrong", async () => {
      writeFileSync(join(dir, "context/Containerfile"), "FROM scratch\nCOPY missing /\n");
      const { status, stderr } = await execute(
        process.execPath,
        [script, join(dir, "context"), "localhost/x"],
        { env, mayFail: true },
      );
      expect(status).toBe(1);
      expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^(?:not-found|context|syntax): .*missing/);
    });
  },
);
