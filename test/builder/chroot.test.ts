import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab, LabBuild } from "../support/lab.js";

const base = `${BUSYBOX_BASE}FROM base\n`;
const CHROOT = { isolation: "chroot" } as const;

const build = (lab: Lab, text: string, options: Partial<BuildOptions> = {}): Promise<LabBuild> =>
  lab.build(text, { ...CHROOT, ...options });

describe("a build by chroot", () => {
  const whole = `${BUSYBOX_BASE}FROM base AS one
RUN mkdir /d && echo kept > /d/kept && echo gone > /d/gone && ln /d/kept /d/also
WORKDIR /work/deep
COPY --chown=4:5 file ./
RUN <<END
rm /d/gone
cat file; pwd
chmod 4755 /d/kept
echo "$HOME" > home
END
FROM base
COPY --from=one /d /d
COPY --from=one /work /work
USER 33:44
RUN id -u; id -g; touch /tmp/mine 2> /dev/null || echo no /tmp
RUN echo last > /dev/null; ls /proc /sys
CMD ["sh"]
`;

  test("goes through stages, copies, users and scripts, and its layers are what a native build uses", async () => {
    await using lab = await openLab();
    lab.write({ file: "of the context\n" });
    const first = await build(lab, whole);
    expect(first.output).toContain("of the context\n/work/deep\n");
    expect(first.output).toContain("33\n44\n");
    expect(first.events.filter(({ type }) => type === "notice")).toHaveLength(1);
    const native = await lab.build(whole, { isolation: "native" });
    expect(native.built).toEqual([]);
    expect(native.result.imageId).toBe(first.result.imageId);
    const out = await lab.extract(native, whole);
    expect(readdirSync(join(out, "d")).toSorted()).toEqual(["also", "kept"]);
    expect(statSync(join(out, "d/also"))).toMatchObject({ mode: 0o104755, nlink: 2 });
    expect(lstatSync(join(out, "work/deep/file"))).toMatchObject({ uid: 4, gid: 5 });
    expect(readFileSync(join(out, "work/deep/home"), "utf8")).toBe("/root\n");
    expect(readdirSync(out).toSorted()).toEqual(["bin", "d", "work"]);
  });

  test("goes on where a native build was, and the other way round", async () => {
    await using lab = await openLab();
    const steps = [
      "RUN echo 1 > /a && mkdir /dir && echo x > /dir/x",
      "RUN rm -r /dir && mkdir /dir && echo 2 > /dir/y",
      "RUN ls /dir; cat /a",
    ];
    await lab.build(`${base}${steps.slice(0, 2).join("\n")}\n`, { isolation: "native" });
    const there = await build(lab, `${base}${steps.join("\n")}\n`);
    expect(there.output).toBe("y\n1\n");
    expect(there.built).toEqual([steps[2]]);
    const back = await lab.build(`${base}${steps.join("\n")}\nRUN cat /dir/y\n`, { isolation: "native" });
    expect(back.output).toBe("2\n");
  });

  test("leaves the image's own /etc/hosts, /dev and the like alone", async () => {
    await using lab = await openLab();
    const text = `${base}RUN mkdir -p /etc /dev && echo own > /etc/marker
RUN cat /etc/hosts /etc/resolv.conf > /dev/null && echo 1 > /new
`;
    const made = await build(lab, text);
    const out = await lab.extract(made, text);
    expect(readdirSync(join(out, "etc"))).toEqual(["marker"]);
    expect(readdirSync(out).toSorted()).toEqual(["bin", "etc", "new"]);
  });

  test("has caches, secrets and binds, and none of them in a layer", async () => {
    await using lab = await openLab();
    lab.write({ "context-file": "seen\n", secret: "hush 4711\n" });
    const text = `${BUSYBOX_BASE}FROM base AS other
RUN mkdir /o && echo other > /o/f
FROM base
RUN --mount=type=cache,target=/c echo 1 >> /c/f
RUN --mount=type=cache,target=/c --mount=type=cache,target=/twice,id=/c echo 2 >> /c/f; cat /c/f /twice/f > /result
RUN --mount=type=cache,target=/c,ro cat /c/f && echo 3 >> /c/f
RUN --mount=type=secret,id=s,target=/run/deep/s,mode=0400 read -r it < /run/deep/s && echo "$it"
RUN --mount=target=/ctx cat /ctx/context-file
RUN --mount=target=/ctx,rw echo changed > /ctx/context-file && cat /ctx/context-file
RUN --mount=from=other,source=/o,target=/o cat /o/f
RUN --mount=type=tmpfs,target=/t touch /t/x
RUN ls /
`;
    const made = await build(lab, text, {
      secrets: { s: { file: join(lab.context, "secret") } },
    });
    expect(made.output).toBe("1\n2\nhush 4711\nseen\nchanged\nother\nbin\ndev\netc\nproc\nresult\nsys\n");
    const out = await lab.extract(made, text);
    expect(readdirSync(out).toSorted()).toEqual(["bin", "result"]);
    expect(readFileSync(join(out, "result"), "utf8")).toBe("1\n2\n1\n2\n");
    expect(readFileSync(join(lab.context, "context-file"), "utf8")).toBe("seen\n");
  });

  test("runs an image, and refuses what it cannot do with the place", async () => {
    await using lab = await openLab();
    const made = await build(lab, `${base}CMD ["sh", "-c", "echo ran; exit 7"]\n`);
    const chunks: Uint8Array[] = [];
    const code = await lab.cooper.run(made.result.imageId, {
      ...CHROOT,
      onOutput: (_, chunk) => void chunks.push(chunk),
    });
    expect([code, Buffer.concat(chunks).toString()]).toEqual([7, "ran\n"]);
    await expect(build(lab, `${base}RUN --network=none true\n`)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("network namespace") as string,
      where: expect.stringMatching(/^Containerfile:5/) as string,
    });
  });
});
