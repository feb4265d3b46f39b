import { describe, expect, test } from "vitest";
import { hasCode } from "../../src/errors.js";
import { isRemoteUrl, parseGitSource } from "../../src/fetch/index.js";

const plain = {
  ref: undefined,
  subdir: undefined,
  checksum: undefined,
  keepGitDir: undefined,
  submodules: true,
};

describe("git URLs", () => {
  test.each([
    ["https://host/x.git", { url: "https://host/x.git" }],
    ["https://host/x.git#v1", { url: "https://host/x.git", ref: "v1" }],
    ["https://host/x.git#:sub/dir", { url: "https://host/x.git", subdir: "sub/dir" }],
    ["https://host/x.git#main:/sub//dir/", { url: "https://host/x.git", ref: "main", subdir: "sub/dir" }],
    ["https://host/x.git#main:a:b", { url: "https://host/x.git", ref: "main", subdir: "a:b" }],
    ["https://host/x.git#main:proj/..", { url: "https://host/x.git", ref: "main" }],
    ["https://host/x.git#main:../../etc", { url: "https://host/x.git", ref: "main", subdir: "etc" }],
    ["https://u:p@host:8443/x.git#a%2Fb", { url: "https://u:p@host:8443/x.git", ref: "a/b" }],
    ["git://host/x", { url: "git://host/x" }],
    ["ssh://git@host:22/~u/x#pull/1/head", { url: "ssh://git@host:22/~u/x", ref: "pull/1/head" }],
    ["git@host:team/x.git#main:sub", { url: "git@host:team/x.git", ref: "main", subdir: "sub" }],
    ["git@host:x?tag=v1", { url: "git@host:x", ref: "refs/tags/v1" }],
    ["https://host/x.git?ref=main&subdir=s", { url: "https://host/x.git", ref: "main", subdir: "s" }],
    ["https://host/x.git?ref=main#main:s", { url: "https://host/x.git", ref: "main", subdir: "s" }],
    ["https://host/x.git?branch=b", { url: "https://host/x.git", ref: "refs/heads/b" }],
    [
      "https://host/x.git?checksum=0123abc&keep-git-dir=1&submodules=false",
      { url: "https://host/x.git", checksum: "0123abc", keepGitDir: true, submodules: false },
    ],
    ["https://host/x.git?keep-git-dir=false", { url: "https://host/x.git", keepGitDir: false }],
  ])("%s", (text, expected) => {
    expect(parseGitSource(text)).toEqual({ ...plain, ...expected });
  });

  test.each([
    "https://host/x",
    "https://host/x.git/",
    "https://host/x.GIT",
    "https://host/x.git/archive.tar.gz",
    "HTTPS://host/x.git",
    "host:x.git",
    "file:///x.git",
    "ext::sh -c true",
    "/dir/x.git",
    "-oProxyCommand=x@host:x",
    "u@-oProxyCommand=x:x",
  ])("%s is none", (text) => expect(parseGitSource(text)).toBeUndefined());

  test.each([
    ["https://host/x.git#-u./x", "cannot be a git ref"],
    ["https://host/x.git#--upload-pack=touch${IFS}x", "cannot be a git ref"],
    ["https://host/x.git#a b", "cannot be a git ref"],
    ["https://host/x.git#a..b", "cannot be a git ref"],
    ["https://host/x.git#a%0Ab", "cannot be a git ref"],
    ["https://host/x.git?ref=*", "cannot be a git ref"],
    ["https://host/x.git#%zz", "not valid percent-encoding"],
    ["https://host/x.git?foo=1", 'no query "foo"'],
    ["https://host/x.git?ref=a#b", "two values of ref contradict"],
    ["https://host/x.git?branch=a&tag=b", "two values of ref contradict"],
    ["https://host/x.git?ref=", "has no value"],
    ["https://host/x.git?ref=a&ref=b", "given twice"],
    ["https://host/x.git?keep-git-dir=maybe", "neither true nor false"],
    ["https://host/x.git?checksum=xyz", "is not a commit"],
    ["ssh://-oProxyCommand=x/y", "names no host"],
  ])("%s is refused", (text, message) => {
    let thrown: unknown;
    try {
      parseGitSource(text);
    } catch (error) {
      thrown = error;
    }
    expect(hasCode(thrown, "usage")).toBe(true);
    expect((thrown as Error).message).toContain(message);
  });

  test("what is remote", () => {
    const remote = ["http://a", "https://a/b", "git://a/b", "ssh://a/b", "git@host:b"];
    expect(remote.filter(isRemoteUrl)).toEqual(remote);
    expect(["a", "a/b@c:d", "file:///a", "ftp://a", "HTTP://a", "c:/a", "-"].filter(isRemoteUrl)).toEqual([]);
  });
});
