import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

describe("ONBUILD", () => {
  test("ONBUILD triggers of the base run first and are gone from the child", async () => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    await lab.build("FROM scratch\nONBUILD COPY a /from-base\nONBUILD ENV T=1\n", { tags: ["parent"] });
    const child = await lab.build("FROM localhost/parent\nCOPY a /own\n");
    expect(child.built).toEqual(["COPY a /from-base", "ENV T=1", "COPY a /own"]);
    expect(child.result.config.config.OnBuild).toBeUndefined();
    expect(child.result.config.config.Env).toContain("T=1");
  });

  test("triggers with several here-documents run as they were written", async () => {
    await using lab = await openLab();
    await lab.build(
      `${BUSYBOX_BASE}ENV W=world
ONBUILD COPY <<one <<-"two" /h/
hello $W
one
	literal $W
	two
ONBUILD RUN <<EOF
cat /h/one > /out
cat /h/two >> /out
EOF
ONBUILD RUN cat <<A > /a && cat <<'B' >> /a
a $W
A
b $W
B
`,
      { tags: ["parent"] },
    );
    const { output } = await lab.build("FROM localhost/parent\nRUN cat /out /a\n");
    expect(output).toBe("hello world\nliteral $W\na world\nb $W\n");
  });

  test("a trigger's error names the trigger", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD COPY nope /x\n", { tags: ["parent"] });
    await expect(lab.build("FROM localhost/parent\nENV A=1\n")).rejects.toMatchObject({
      code: "not-found",
      where: "ONBUILD of localhost/parent:1:1",
    });
  });

  test("a trigger that cannot be carried out is refused before the first step of any stage", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD RUN --mount=type=cache,target=/c true\n", { tags: ["parent"] });
    const started: string[] = [];
    const child = lab.build("FROM scratch AS a\nENV A=1\nFROM localhost/parent\nCOPY --from=a / /\n", {
      onEvent: (event) => void (event.type === "step-start" && started.push(event.text)),
    });
    await expect(child).rejects.toMatchObject({
      code: "unsupported",
      where: "ONBUILD of localhost/parent:1:5",
    });
    expect(started).toEqual([]);
  });
});
