import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CooperError } from "../../src/errors.js";
import { argumentsOf, cli, details, digest, summary } from "./fake-world.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("images", () => {
  test.each([
    [
      "images",
      "REPOSITORY       TAG         IMAGE ID      CREATED      SIZE\nlocalhost/hello  latest      aaaaaaaaaaaa  2 hours ago  214 MB\n",
    ],
    ["image ls -n", "localhost/hello  latest      aaaaaaaaaaaa  2 hours ago  214 MB\n"],
    ["images -q", "aaaaaaaaaaaa\n"],
    ["images -q --no-trunc hello", `${digest("a")}\n`],
    ["images -q localhost/hello:latest", "aaaaaaaaaaaa\n"],
    ["images -q ello", ""],
    [
      "images -n --digests",
      `localhost/hello  latest      ${digest("d")}  aaaaaaaaaaaa  2 hours ago  214 MB\n`,
    ],
  ])("%s", async (line, stdout) => {
    expect(await cli(line.split(" "))).toMatchObject({ code: 0, stdout, stderr: "" });
  });

  test("-a asks for steps too, and json is an array", async () => {
    const { stdout, calls } = await cli(["images", "-a", "--format=json"]);
    expect(calls[0]).toEqual({ method: "images", args: [{ all: true }] });
    expect(JSON.parse(stdout)).toEqual([
      expect.objectContaining({ Id: "a".repeat(64), Names: ["localhost/hello:latest"], Size: summary.size }),
    ]);
  });
});

test("inspect prints what it found and fails for what it did not", async () => {
  const { code, stdout, stderr } = await cli(["inspect", "hello", "nope"], {
    cooper: {
      inspect: (name) =>
        name === "hello"
          ? Promise.resolve(details)
          : Promise.reject(new CooperError("not-found", `${name}: image not known`)),
    },
  });
  expect({ code, stderr }).toEqual({ code: 125, stderr: "Error: nope: image not known\n" });
  expect(stdout).toMatchInlineSnapshot(`
    "[
         {
              "Id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
              "Digest": "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
              "RepoTags": [
                   "localhost/hello:latest"
              ],
              "RepoDigests": [
                   "localhost/hello@sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
              ],
              "Created": "2026-01-02T10:00:00Z",
              "Author": "",
              "Config": {
                   "Env": [
                        "A=b"
                   ],
                   "Cmd": [
                        "/bin/sh"
                   ],
                   "Labels": {
                        "x": "y"
                   }
              },
              "Architecture": "amd64",
              "Os": "linux",
              "Size": 213900000,
              "ManifestType": "application/vnd.oci.image.manifest.v1+json",
              "RootFS": {
                   "Type": "layers",
                   "Layers": []
              },
              "Labels": {
                   "x": "y"
              },
              "User": "",
              "History": [
                   {
                        "created_by": "COPY . /",
                        "created": "2026-01-02T10:00:00Z"
                   }
              ]
         }
    ]
    "
  `);
});

test("history", async () => {
  const row = { id: digest("a"), created: "2026-01-02T11:00:00Z", createdBy: "RUN x", size: 10, comment: "" };
  const cooper = { history: () => Promise.resolve([row, { createdBy: "FROM", size: 0, comment: "c" }]) };
  expect((await cli(["history", "-q", "x"], { cooper })).stdout).toBe("aaaaaaaaaaaa\n<missing>\n");
  expect((await cli(["history", "x"], { cooper })).stdout).toMatch(
    /^ID .*\naaaaaaaaaaaa {2}About an hour ago {2}RUN x/,
  );
  expect(JSON.parse((await cli(["history", "--format", "json", "x"], { cooper })).stdout)).toEqual([
    { id: "a".repeat(64), created: "2026-01-02T11:00:00Z", CreatedBy: "RUN x", size: 10, comment: "" },
    { id: "<missing>", created: null, CreatedBy: "FROM", size: 0, comment: "c" },
  ]);
});

describe("names", () => {
  test("tag", async () => {
    expect(await argumentsOf("tag", "tag", "hello", "a", "b:1")).toEqual(["hello", ["a", "b:1"]]);
    expect((await cli(["tag", "hello"])).stderr).toBe(
      'Error: "cooper tag" takes at least 2 arguments, 1 given\n  hint: usage: cooper tag IMAGE NAME [NAME...]\n',
    );
  });

  test("rmi", async () => {
    expect(await argumentsOf("remove", "rmi", "-f", "a", "b")).toEqual([
      ["a", "b"],
      { force: true, all: false },
    ]);
    expect((await cli(["image", "rm", "a"])).stdout).toBe(
      `Untagged: localhost/hello:latest\nDeleted: ${"a".repeat(64)}\n`,
    );
    expect(await argumentsOf("remove", "rmi", "-af")).toEqual([[], { force: true, all: true }]);
    expect((await cli(["rmi"])).code).toBe(125);
    expect((await cli(["rmi", "-a", "x"])).code).toBe(125);
  });
});

describe("archives", () => {
  test("save", async () => {
    const signal = expect.any(AbortSignal) as AbortSignal;
    expect(await argumentsOf("save", "save", "a", "b")).toEqual([
      ["a", "b"],
      { format: "docker-archive", dest: "-", signal },
    ]);
    expect(await argumentsOf("save", "save", "--format", "oci-dir", "-o", "out", "a")).toEqual([
      ["a"],
      { format: "oci-dir", dest: "/here/out", signal },
    ]);
    expect((await cli(["save", "a"], { terminal: true })).stderr).toContain(
      "refusing to write an archive to the terminal",
    );
    expect((await cli(["save", "--format=oci-dir", "a"])).stderr).toContain("needs --output DIR");
    expect((await cli(["save", "--format=dir", "a"])).stderr).toContain("is not one of");
  });

  test("load", async () => {
    expect(await argumentsOf("load", "load")).toEqual(["-", { signal: expect.any(AbortSignal) }]);
    expect(await argumentsOf("load", "load", "-i", "x.tar")).toEqual([
      "/here/x.tar",
      { signal: expect.any(AbortSignal) },
    ]);
    expect((await cli(["load"])).stdout).toBe("Loaded image: localhost/hello:latest\n");
    expect((await cli(["load"], { terminal: true })).stderr).toContain(
      "cannot read an archive from the terminal",
    );
  });
});

describe("registries", () => {
  test("pull prints the id", async () => {
    const { stdout, calls } = await cli(["pull", "--tls-verify=false", "docker://host/a", "oci:1"]);
    expect(calls.filter(({ method }) => method === "pull").map(({ args }) => args[0])).toEqual([
      "host/a",
      "oci:1",
    ]);
    expect(calls[0]?.args[1]).toMatchObject({ tlsVerify: false });
    expect(stdout).toBe(`${"a".repeat(64)}\n`.repeat(2));
    expect((await cli(["pull", "oci-archive:/tmp/x"])).stderr).toContain(
      'the transport "oci-archive:" is not supported',
    );
  });

  test("push", async () => {
    expect(await argumentsOf("push", "push", "-q", "a")).toEqual(["a", undefined, expect.anything()]);
    const { code, stdout } = await cli(["push", "--digestfile", "d", "a", "docker://host/b"], { cwd: dir });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(readFileSync(join(dir, "d"), "utf8")).toBe(digest("e"));
  });

  test("login asks for what is missing and never shows the password", async () => {
    const { stdout, stderr, calls, questions } = await cli(["login", "host"], {
      terminal: true,
      stdin: ["me", "s3cret"],
    });
    expect(stderr).toBe("Username: Password: ");
    expect(stdout).toBe("Login Succeeded!\n");
    expect(questions).toEqual([{ secret: false }, { secret: true }]);
    expect(calls.find(({ method }) => method === "login")?.args.slice(0, 2)).toEqual([
      "host",
      { username: "me", password: "s3cret" },
    ]);
  });

  test("login offers the user who is logged in", async () => {
    const { stderr, calls } = await cli(["login", "host"], {
      terminal: true,
      stdin: ["", "pw"],
      cooper: { loggedIn: () => Promise.resolve("old") },
    });
    expect(stderr).toBe("Username (old): Password: ");
    expect(calls.find(({ method }) => method === "login")?.args[1]).toEqual({
      username: "old",
      password: "pw",
    });
  });

  test("login takes the password from stdin, without its line break", async () => {
    const { calls } = await cli(["login", "-u", "me", "--password-stdin", "host"], { stdin: ["p\nw\r\n"] });
    expect(calls.find(({ method }) => method === "login")?.args[1]).toEqual({
      username: "me",
      password: "p\nw",
    });
  });

  test.each([
    [["login", "--password-stdin", "host"], "--password-stdin needs --username"],
    [["login", "-u", "a", "-p", "b", "--password-stdin", "host"], "not both"],
    [["login", "-u", "a", "host"], "stdin is not a terminal"],
    [["login", "-u", "a", "--password-stdin", "host"], "the password is empty"],
    [["login", "--get-login", "host"], "not logged into host"],
    [["login"], "takes exactly 1 argument, 0 given"],
    [["logout"], "give one HOST, or --all"],
    [["logout", "-a", "x"], "give one HOST, or --all"],
  ])("%j", async (argv, message) => {
    const { code, stderr } = await cli(argv);
    expect(code).toBe(125);
    expect(stderr).toContain(message);
  });

  test("--get-login and logout", async () => {
    const cooper = { loggedIn: () => Promise.resolve("me") };
    expect((await cli(["login", "--get-login", "host"], { cooper })).stdout).toBe("me\n");
    expect((await cli(["logout", "host"])).stdout).toBe("Removed login credentials for host\n");
    expect(await argumentsOf("logout", "logout", "--all")).toEqual(["all", {}]);
  });
});
