import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, chownSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { User, Users } from "../../api/users.js";
import { makeContext, openUsers, SHELL } from "../../api/users.js";
import { describeWith } from "../../support/packages.js";

const FILE = `${SHELL}FROM base AS other
RUN mkdir /o && echo other > /o/f
FROM base
RUN --mount=target=/ctx cat /ctx/a; stat -c %u /ctx/a
RUN --mount=from=other,source=/o,target=/o,rw cat /o/f; echo x > /o/f
RUN --mount=type=cache,target=/c echo kept > /c/f
RUN --mount=type=cache,target=/c,sharing=locked true
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t,size=1m cat /c/f; touch /t/x
RUN --mount=type=secret,id=s,env=S --mount=type=secret,id=f,mode=0444 cat /run/secrets/f; echo $S | wc -c
RUN cat /v/f; echo gone > /v/f; cat /v/f
`;

let users: Users;
let dir: string;

describeWith(["root", "mounts", "newuidmap", "unshare", "busybox"], "mounts without root's power", () => {
  beforeAll(() => {
    users = openUsers();
    dir = mkdtempSync(join(tmpdir(), "cooper-rootless-"));
    chmodSync(dir, 0o755);
    makeContext(dir, "all", FILE);
  });
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
    users[Symbol.dispose]();
  });

  /** What only this user may read. */
  function put(user: User, name: string, text: string): string {
    const path = join(user.home, name);
    writeFileSync(path, text, { mode: 0o600 });
    chownSync(path, user.uid, user.uid);
    return path;
  }

  test.each([true, false])("every type works; with subordinate ids: %s", async (subordinateIds) => {
    const user = users.add({ subordinateIds });
    const secret = put(user, "secret", "from a file\n");
    mkdirSync(join(user.home, "v"));
    chownSync(join(user.home, "v"), user.uid, user.uid);
    const shown = put(user, "v/f", "shown\n");
    const argv = [
      process.execPath,
      join(users.dist, "cooper.cjs"),
      "build",
      "-v",
      `${join(user.home, "v")}:/v:O`,
    ];
    const flags = [
      "--secret",
      "id=s,env=HUSH",
      "--secret",
      `id=f,src=${secret}`,
      "-t",
      "it",
      join(dir, "all"),
    ];
    const env = { HUSH: "wh1sp" };
    const first = await user.run([...argv, ...flags], { env });
    expect(first.stderr + first.stdout).toMatch(
      /a file\n0\n[^]*\nother\n[^]*\nkept\n[^]*\nfrom a file\n6\n[^]*\nshown\ngone\n/,
    );
    expect(first.code).toBe(0);
    const again = await user.run([...argv, ...flags], { env });
    expect([again.code, again.stderr.includes("a file\n0")]).toEqual([0, false]);
    const kept = await user.run(["cat", shown]);
    expect(kept.stdout).toBe("shown\n");
    const grep = await user.run(["sh", "-c", "grep -rl wh1sp .local 2>/dev/null | head -3"]);
    expect(grep.stdout).toBe("");
  });
});
