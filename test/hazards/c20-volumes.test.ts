import { expect, test } from "vitest";
import { openCanary, SECRET } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";

test("C20: volumes of an image's configuration never mean a path of the host", async () => {
  await using lab = await openLab();
  using canary = openCanary(lab.dir);
  const Volumes = Object.fromEntries(
    [`/${canary.climb}`, canary.dir, `/a/../../..${canary.dir}`, "..", "", "/", "/proc/1/root", "/dev"].map(
      (path) => [path, {}],
    ),
  );
  await loadBase(lab, [{ name: `${canary.dir.slice(1)}/own`, content: "of the image" }], {
    config: { Volumes },
  });
  const script = `cat ${canary.dir}/secret ${canary.climb}/secret; cat ${canary.dir}/own; echo x > ${canary.dir}/new`;
  const built = await lab.build(`FROM ${HOSTILE}\nVOLUME /a/../../..${canary.dir}\nRUN ${script}; true\n`, {
    tags: ["built"],
  });
  for (const output of [
    built.output,
    (await runIn(lab, HOSTILE, ["sh", "-c", script])).output,
    (await runIn(lab, "built", ["sh", "-c", script])).output,
  ]) {
    expect(output).not.toContain(SECRET);
    expect(output).toContain("of the image");
  }
  canary.untouched();
});
