import { readFileSync } from "node:fs";
import { join } from "node:path";
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

  test("an image that only a trigger names, and that is not there, is told with the trigger", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD ENV A=1\nONBUILD COPY --from=localhost/none / /x\n", {
      tags: ["parent"],
    });
    await expect(lab.build("\n\nFROM localhost/parent\nENV B=1\n")).rejects.toMatchObject({
      code: "not-found",
      where: "ONBUILD of localhost/parent:1:6",
    });
  });

  test("a trigger that cannot be carried out is refused before the first step of any stage", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD RUN --device=vendor.example/x=y true\n", { tags: ["parent"] });
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

  test("a trigger copies from a stage of the child, by name or number, and from an image", async () => {
    await using lab = await openLab();
    lab.write({ a: "from-stage" });
    await lab.build("FROM scratch\nCOPY a /image-file\n", { tags: ["files"] });
    await lab.build(
      "FROM scratch\nONBUILD COPY --from=st a /named\nONBUILD COPY --from=0 a /numbered\nONBUILD COPY --from=localhost/files image-file /copied\n",
      { tags: ["parent"] },
    );
    const file = "FROM scratch AS st\nCOPY a /\nFROM localhost/parent\n";
    const dest = await lab.extract(await lab.build(file), file);
    for (const name of ["named", "numbered", "copied"]) {
      expect(readFileSync(join(dest, name), "utf8")).toBe("from-stage");
    }
    expect((await lab.build(file)).built).toEqual([]);
    await expect(lab.build("FROM localhost/parent\n", { pull: "never" })).rejects.toMatchObject({
      code: "not-found",
      message: "COPY --from=0: a stage cannot copy from itself",
      where: "ONBUILD of localhost/parent:1:6",
    });
  });

  test("a trigger may need a stage whose base has triggers of its own", async () => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    await lab.build("FROM scratch\nONBUILD COPY a /made\n", { tags: ["first"] });
    await lab.build("FROM scratch\nONBUILD COPY --from=st made /got\n", { tags: ["second"] });
    const file = "FROM localhost/first AS st\nFROM localhost/second\n";
    const dest = await lab.extract(await lab.build(file), file);
    expect(readFileSync(join(dest, "got"), "utf8")).toBe("a");
  });

  test("triggers are not handed on, and a child may have its own", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD ENV A=1\n", { tags: ["one"] });
    await lab.build("FROM localhost/one\nONBUILD ENV B=1\n", { tags: ["two"] });
    const { result } = await lab.build("FROM localhost/two AS x\nFROM x\nENV C=1\n");
    expect(result.config.config.Env?.slice(1)).toEqual(["A=1", "B=1", "C=1"]);
    expect(result.config.config.OnBuild).toBeUndefined();
  });

  test("a stage of the same file triggers in those that are built FROM it", async () => {
    await using lab = await openLab();
    const file =
      "FROM scratch AS a\nONBUILD ENV A=1\nONBUILD COPY <<E /e\nhi\nE\nFROM a AS b\nFROM b\nENV B=1\n";
    const built = await lab.build(file);
    expect(built.result.config.config.Env?.slice(1)).toEqual(["A=1", "B=1"]);
    expect(built.result.config.config.OnBuild).toBeUndefined();
    expect(readFileSync(join(await lab.extract(built, file), "e"), "utf8")).toBe("hi\n");
  });

  test("an ARG that only a trigger declares is declared", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nONBUILD ARG T=d\nONBUILD ENV X=$T\n", { tags: ["parent"] });
    const { events, result } = await lab.build("FROM localhost/parent\nENV Y=$T\n", {
      buildArgs: { T: "cli" },
    });
    expect(result.config.config.Env).toEqual(expect.arrayContaining(["X=cli", "Y=cli"]));
    expect(events.filter((event) => event.type === "warning")).toEqual([]);
  });
});
