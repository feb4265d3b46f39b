import { expect, test } from "vitest";
import { openLab } from "../support/lab.js";

const at = "Containerfile:2:5";

test.each([
  ["--mount=type=cach,target=/c", "syntax", '--mount has no type "cach"', "did you mean cache?"],
  ["--mount=type=cache", "syntax", "--mount of type cache needs target=", undefined],
  [
    "--mount=type=tmpfs,target=/proc/x",
    "usage",
    "RUN --mount: cannot mount on /proc/x",
    "the root, /proc, /sys and /dev are the sandbox's own",
  ],
  [
    "--mount=type=cache,target=/x,U",
    "unsupported",
    "RUN --mount: U is not supported",
    "give the mount uid= and gid=, or chown what it shows in the RUN",
  ],
  [
    "--mount=type=tmpfs,target=/x,tmpcopyup=true",
    "unsupported",
    "RUN --mount: tmpcopyup is not supported",
    "copy the files in the RUN",
  ],
  [
    "--mount=type=bind,target=/x,bind-propagation=shared",
    "syntax",
    '--mount has bind-propagation="shared"',
    "it can be private, rprivate, slave or rslave",
  ],
  [
    "--mount=type=bind,target=/x,from=later",
    "not-found",
    "RUN --mount from=later: a stage can only copy from stages before it",
    undefined,
  ],
  [
    "--mount=type=bind,target=/x,from=0",
    "not-found",
    "RUN --mount from=0: a stage cannot copy from itself",
    undefined,
  ],
  [
    "--network=NONE",
    "syntax",
    "RUN --network=NONE: must be one of default, none, host",
    "write it in lower case: --network=none",
  ],
  [
    "--network=$N",
    "syntax",
    "RUN --network=$N: must be one of default, none, host",
    "variables are not replaced here",
  ],
  ["--security=secure", "syntax", "RUN --security=secure: must be one of sandbox, insecure", undefined],
  ["--device=gpu", "unsupported", "RUN --device is not supported yet", undefined],
  [
    "--mount=type=tmpfs,target=/x --mount=type=tmpfs",
    "syntax",
    "--mount of type tmpfs needs target=",
    undefined,
  ],
])("RUN %s is told before the first step", async (flags, code, message, hint) => {
  await using lab = await openLab();
  const events: string[] = [];
  const file = `FROM scratch\nRUN ${flags} true\nFROM scratch AS later\nENV A=1\n`;
  const failure = lab.build(file, { target: "0", onEvent: (event) => void events.push(event.type) });
  await expect(failure).rejects.toMatchObject({
    code,
    message,
    hint,
    where: expect.stringMatching(at.slice(0, 15)),
  });
  expect(events).toEqual([]);
});

test("a network that is none is refused in a stage that is not built, too", async () => {
  await using lab = await openLab();
  await expect(
    lab.build("FROM scratch\nRUN --network=home x\nFROM scratch\nENV A=1\n"),
  ).rejects.toMatchObject({
    code: "syntax",
    where: "Containerfile:2:5",
  });
});

test.each([
  [
    "ARG s=all",
    "--mount=type=cache,target=/c,sharing=$s",
    '--mount has sharing="all", it must be shared, private or locked',
  ],
  ["ENV t=/", "--mount=target=$t", '--mount has the target "/", the root itself'],
])("values are judged with what %s gives them", async (declared, flag, message) => {
  await using lab = await openLab();
  const failure = lab.build(`FROM scratch\n${declared}\nRUN ${flag} true\n`);
  await expect(failure).rejects.toMatchObject({ code: "syntax", message, where: "Containerfile:3:5" });
});

test("what only the base image can tell is judged when its step comes", async () => {
  await using lab = await openLab();
  await lab.build("FROM scratch\nENV S=all\n", { tags: ["base"] });
  const failure = lab.build("FROM localhost/base\nRUN --mount=type=cache,target=/c,sharing=$S true\n");
  await expect(failure).rejects.toMatchObject({
    code: "syntax",
    message: '--mount has sharing="all", it must be shared, private or locked',
    where: "Containerfile:2:5",
  });
});
