import { lstatSync, mkdirSync, readdirSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCanary, SECRET } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { failureOf } from "../snapshot/room.js";

let lab: Lab;
let canary: Canary;
beforeEach(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
  symlinkSync(join(canary.dir, "secret"), join(lab.context, "f"));
  symlinkSync(canary.dir, join(lab.context, "dir"));
  symlinkSync(canary.climb.slice(1), join(lab.context, "relative"));
  mkdirSync(join(lab.context, "sub"));
  symlinkSync("../../host/secret", join(lab.context, "sub/up"));
});
afterEach(async () => {
  canary.untouched();
  await lab[Symbol.asyncDispose]();
});

describe("C11: links of the context that lead out of it", () => {
  test.each([
    "COPY f /f",
    "COPY dir/secret /g",
    "COPY dir/held /g",
    "COPY relative/secret /g",
    "COPY sub/up /g",
    "COPY ./dir/../secret /g",
    "COPY --link dir/secret /g",
    "COPY --parents dir/secret /g",
    "ADD f /f",
    "ADD dir/secret /x",
    "COPY d*/secret /g",
    "COPY ../host/secret /g",
    "COPY --from=here dir/secret /g",
  ])("%s does not copy what is there", async (step) => {
    const dest = join(lab.dir, "out");
    const options = {
      outputs: [{ type: "local", dest } as const],
      buildContexts: { here: lab.context },
    };
    const { message } = await failureOf(lab.build(`FROM scratch\n${step}\n`, options));
    expect(message).toMatch(/not found|no such|does not exist|matches nothing|is not in/i);
    expect(message).not.toContain(SECRET);
  });

  test.each(["COPY . /", "ADD . /", "COPY --link . /", "COPY --from=here . /"])(
    "%s copies the links as links",
    async (step) => {
      const dest = join(lab.dir, "out");
      const options = {
        outputs: [{ type: "local", dest } as const],
        buildContexts: { here: lab.context },
      };
      await lab.build(`FROM scratch\n${step}\n`, options);
      for (const name of ["f", "dir", "relative", "sub/up"]) {
        expect(lstatSync(join(dest, name)).isSymbolicLink()).toBe(true);
        expect(readlinkSync(join(dest, name))).toBe(readlinkSync(join(lab.context, name)));
      }
    },
  );

  test.each(["COPY dir /x", "ADD dir /x", "COPY dir/ /x/", "COPY sub/ /x/"])(
    "%s brings nothing of the host",
    async (step) => {
      const dest = join(lab.dir, "out");
      const options = { outputs: [{ type: "local", dest } as const] };
      const failure = await lab.build(`FROM scratch\n${step}\n`, options).then(
        () => undefined,
        (error: Error) => error,
      );
      expect(failure?.message ?? "").not.toContain(SECRET);
      if (failure === undefined) expect(filesBelow(dest)).not.toContain("secret");
    },
  );

  test("a link to a link, a loop and the root itself bring nothing either", async () => {
    symlinkSync("dir", join(lab.context, "again"));
    symlinkSync("loop", join(lab.context, "loop"));
    symlinkSync("/", join(lab.context, "all"));
    for (const source of ["again/secret", "loop", "loop/x", `all${canary.dir}/secret`, "all/etc/passwd"]) {
      const dest = join(lab.dir, "out");
      const options = { outputs: [{ type: "local", dest } as const] };
      const { message } = await failureOf(lab.build(`FROM scratch\nCOPY ${source} /g\n`, options));
      expect(message).not.toContain(SECRET);
    }
  });
});

function filesBelow(dest: string): readonly string[] {
  const found: string[] = [];
  const visit = (dir: string): void => {
    for (const name of readdirSync(dir)) {
      found.push(name);
      if (lstatSync(join(dir, name)).isDirectory()) visit(join(dir, name));
    }
  };
  visit(dest);
  return found;
}
