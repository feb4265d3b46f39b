import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";

describe("-v of a build", () => {
  test("is seen by every RUN, changes no key and leaves nothing in a layer", async () => {
    await using lab = await openLab();
    const shared = join(lab.dir, "shared");
    mkdirSync(shared);
    writeFileSync(join(shared, "f"), "shown\n");
    const volumes = [`${shared}:/v/deep`];
    const step = `${BUSYBOX_BASE}RUN cat /v/deep/f && echo new > /v/deep/g\n`;
    const file = `${step}FROM base\nRUN cat /v/deep/g\n`;
    const build = await lab.build(step, { volumes });
    expect(build.output).toBe("shown\n");
    expect(readFileSync(join(shared, "g"), "utf8")).toBe("new\n");
    expect((await lab.build(step)).built).toEqual([]);
    expect((await lab.build(file, { volumes })).output).toBe("new\n");
    const out = await lab.extract(build, step);
    expect(readdirSync(out)).not.toContain("v");
  });

  test("read-only, discarding what is written, a single file, options", async () => {
    await using lab = await openLab();
    const shared = join(lab.dir, "shared");
    mkdirSync(shared);
    writeFileSync(join(shared, "f"), "old\n");
    const { output } = await lab.build(
      `${BUSYBOX_BASE}RUN touch /ro/x 2>&1 || true; echo mine > /o/f; cat /o/f /file; grep ' /n ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4
RUN cat /o/f
`,
      {
        volumes: [
          `${shared}:/ro:ro,z`,
          `${shared}:/o:O`,
          `${shared}/f:/file:ro`,
          `${shared}:/n:nosuid,noexec,nodev`,
        ],
      },
    );
    expect(output).toBe("touch: /ro/x: Read-only file system\nmine\nold\nrw,nosuid,nodev,noexec\nold\n");
    expect(readFileSync(join(shared, "f"), "utf8")).toBe("old\n");
  });

  test.each([
    ["/no/such:/x", "not-found", "volume source /no/such does not exist"],
    ["/tmp:/proc/x", "usage", 'volume "/tmp:/proc/x": cannot mount on /proc/x'],
    ["/tmp:/x:rshared", "unsupported", 'volume "/tmp:/x:rshared": the option "rshared" is not supported'],
    ["/tmp:/x:suid", "unsupported", 'volume "/tmp:/x:suid": the option "suid" is not supported'],
    ["/tmp:/x:U", "unsupported", 'volume "/tmp:/x:U": the option "U" is not supported'],
    [
      "/etc/hostname:/x:O",
      "usage",
      'volume "/etc/hostname:/x:O": O is for directories, and /etc/hostname is none',
    ],
  ])("%s is refused before the first step", async (volume, code, message) => {
    await using lab = await openLab();
    const build = lab.build("FROM scratch\nENV A=1\n", { volumes: [volume] });
    await expect(build).rejects.toMatchObject({ code, message });
  });
});
