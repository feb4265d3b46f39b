import { expect, test } from "vitest";
import type { CooperError } from "../../src/errors.js";
import { checkRunMount, parseRunMount } from "../../src/parser/index.js";

const bind = { type: "bind", target: "/x", readOnly: true, options: [], source: "/" };
const cache = { ...bind, type: "cache", readOnly: false, id: "/x", sharing: "shared" };
const tmpfs = { type: "tmpfs", target: "/x", readOnly: false, options: [] };
const secret = { type: "secret", id: "a", readOnly: true, options: [], required: false };
const ssh = { ...secret, type: "ssh", id: "default" };

test.each([
  ["target=/x", bind],
  ["type=bind,dst=/x,src=d,from=build", { ...bind, source: "d", from: "build" }],
  ["TYPE=BIND,Destination=/x,RW", { ...bind, readOnly: false }],
  ["target=/x,rw=false", bind],
  ["target=/x,rw,ro", bind],
  ["target=/x,ro=1,rw=true", { ...bind, readOnly: false }],
  ["target=/y,target=/x", bind],
  ["target=x,id=ignored,env=ignored,from=", { ...bind, target: "x" }],
  ['"target=/a,b"', { ...bind, target: "/a,b" }],
  ['"target=/a""b"', { ...bind, target: '/a"b' }],
  ["target=/x,z,relabel=shared,U,nodev,nosuid=true,noexec=false", { ...bind, options: ["nosuid", "nodev"] }],
  ["target=/x,bind-propagation=rslave,consistency=cached,bind-nonrecursive", bind],
  ["type=cache,target=/x", cache],
  ["type=cache,target=/x,id=,sharing=LOCKED,ro", { ...cache, sharing: "locked", readOnly: true }],
  [
    "type=cache,target=/x,id=n,sharing=private,mode=1777,uid=3,gid=4,from=s,source=/q",
    { ...cache, id: "n", sharing: "private", mode: 0o1777, uid: 3, gid: 4, from: "s", source: "/q" },
  ],
  ["type=tmpfs,target=/x", tmpfs],
  ["type=tmpfs,target=/x,ro", { ...tmpfs, readOnly: true }],
  ["target=/x,type=tmpfs,size=64", { ...tmpfs, size: 64 }],
  ["type=tmpfs,target=/x,size=64MiB", { ...tmpfs, size: 64 * 1024 ** 2 }],
  ["type=tmpfs,target=/x,size=1.5g", { ...tmpfs, size: 1.5 * 1024 ** 3 }],
  ["type=tmpfs,target=/x,tmpfs-size=2k,tmpfs-mode=700,tmpcopyup", { ...tmpfs, size: 2048, mode: 0o700 }],
  ["type=secret,id=a", { ...secret, target: "/run/secrets/a" }],
  ["type=secret,id=dir/a", { ...secret, id: "dir/a", target: "/run/secrets/a" }],
  ["type=secret,source=a,target=/etc/b", { ...secret, target: "/etc/b" }],
  ["type=secret,target=/etc/a", { ...secret, target: "/etc/a" }],
  ["type=secret,id=a,env=TOKEN", { ...secret, env: "TOKEN" }],
  ["type=secret,id=a,env=TOKEN,target=/t", { ...secret, env: "TOKEN", target: "/t" }],
  [
    "type=secret,id=a,required,mode=0440,uid=1,gid=2,target=/t",
    { ...secret, required: true, mode: 0o440, uid: 1, gid: 2, target: "/t" },
  ],
  ["type=ssh", ssh],
  [
    "type=ssh,id=k,target=/s,required=true,mode=0666",
    { ...ssh, id: "k", target: "/s", required: true, mode: 0o666 },
  ],
])("%s", (text, expected) => {
  expect(parseRunMount(text)).toEqual(expected);
});

test.each([
  ["", "--mount is empty", "write --mount=type=cache,target=/path"],
  ["type=cach,target=/x", '--mount has no type "cach"', "did you mean cache?"],
  ["type=,target=/x", '--mount has no type ""', "the types are bind, cache, tmpfs, secret, ssh"],
  ["type=cache", "--mount of type cache needs target=", undefined],
  ["type=bind,target=", "--mount of type bind needs target=", undefined],
  ["target=/x,relabel=Shared", '--mount has relabel="Shared", it must be shared or private', undefined],
  ["target=/", '--mount has the target "/", the root itself', "name a path below it"],
  ["type=cache,target=/a/..", '--mount has the target "/a/..", the root itself', "name a path below it"],
  ["type=cache,tarrget=/x", '--mount has no key "tarrget"', "did you mean target?"],
  ["target=/x,", "--mount has an empty field", "remove the comma that is too many"],
  ["target=/x, ro", '--mount has no key " ro"', "did you mean ro?"],
  ["target", "--mount has target without a value", "write target=…"],
  ["$m", '--mount has "$m" where key=value is expected', "variables may stand only in values"],
  ["target=/x,ro=maybe", '--mount has ro="maybe", it must be true or false', undefined],
  [
    "type=cache,target=/x,sharing=all",
    '--mount has sharing="all", it must be shared, private or locked',
    undefined,
  ],
  ["target=/x,sharing=locked", "--mount of type bind has no sharing", "sharing is for the types cache"],
  ["target=/x,uid=3", "--mount of type bind has no uid", "uid is for the types cache, secret, ssh"],
  ["type=tmpfs,target=/x,mode=700", "--mount of type tmpfs has no mode", "write tmpfs-mode="],
  [
    "type=tmpfs,target=/x,source=/y",
    "--mount of type tmpfs has no source",
    "source is for the types bind, cache, secret",
  ],
  ["type=ssh,from=s", "--mount of type ssh has no from", "from is for the types bind, cache"],
  ["type=cache,target=/x,mode=999", '--mount has mode="999", it must be octal, such as 0755', undefined],
  [
    "type=cache,target=/x,uid=root",
    '--mount has uid="root", it must be a number; names are not known here',
    undefined,
  ],
  [
    "type=tmpfs,target=/x,size=lots",
    '--mount has size="lots", it must be a size such as 64m or 1g',
    undefined,
  ],
  ["type=tmpfs,target=/x,size=", '--mount has size="", it must be a size such as 64m or 1g', undefined],
  ["size=1m,type=tmpfs,target=/x", "--mount has size before type=tmpfs", "write type=tmpfs first"],
  ["required,type=secret,id=a", "--mount has required before type=secret", "write type=secret first"],
  ["type=secret", "--mount of type secret needs id=", "write type=secret,id=NAME"],
  ["type=secret,target=/", '--mount has the target "/", the root itself', "name a path below it"],
  [
    'target="/x"',
    '--mount has a quote in the wrong place: "target="/x""',
    'quote whole fields: "target=/a,b"',
  ],
  [
    '"target=/x"y',
    '--mount has a quote in the wrong place: ""target=/x"y"',
    'quote whole fields: "target=/a,b"',
  ],
])("refuses %s", (text, message, hint) => {
  let error: CooperError | undefined;
  try {
    parseRunMount(text);
  } catch (thrown) {
    error = thrown as CooperError;
  }
  expect(error).toMatchObject({ code: "syntax", message, hint });
});

const unless = (text: string): string | undefined => (text.includes("$") ? undefined : text);

test.each([
  "type=$t,target=/x,size=3",
  "type=cache,target=$t",
  "type=cache,target=/x,uid=$u,mode=$m,sharing=$s",
  "type=secret,id=$i",
  "type=tmpfs,target=/x,size=$s",
])("%s cannot be told yet, and is no error", (text) => {
  expect(checkRunMount(text, unless)).toBeUndefined();
});

test("what is known is judged although something else is not", () => {
  expect(() => checkRunMount("type=cache,target=$t,sharing=all", unless)).toThrow("sharing");
  expect(checkRunMount("type=cache,target=/x", unless)).toEqual(cache);
});

test("variables are replaced in values, and what they hold is no syntax", () => {
  const values: Record<string, string> = { $t: "/a,b", $y: "tmpfs" };
  expect(parseRunMount("type=$y,target=$t", (text) => values[text] ?? text)).toEqual({
    ...tmpfs,
    target: "/a,b",
  });
});
