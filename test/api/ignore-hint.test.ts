import { expect, test } from "vitest";
import { openLab } from "../support/lab.js";

test("an ignore line that git would read otherwise is told, once, and only when something was built", async () => {
  await using lab = await openLab();
  lab.write({
    ".containerignore": "node_modules\n*.log\n!keep.log\nbuild/\n**/tmp\n",
    "a.txt": "a",
    "app.log": "hidden",
    "node_modules/x": "hidden",
    "pkg/node_modules/y": "seen",
    "pkg/tmp/z": "hidden",
  });
  const warnings = async (): Promise<readonly string[]> =>
    (await lab.build("FROM scratch\nCOPY . /all\n")).events.flatMap((event) =>
      event.type === "warning" ? [event.message] : [],
    );
  expect(await warnings()).toEqual([
    '.containerignore: "node_modules" does not hide pkg/node_modules, as it would in a .gitignore; "**/node_modules" would',
  ]);
  expect(await warnings()).toEqual([]);
  lab.write({ ".containerignore": "**/node_modules\n*.log\n" });
  expect(await warnings()).toEqual([]);
});
