import { describe, expect, test } from "vitest";
import { historyTable, imageRows, imagesTable, newestFirst, splitName } from "../../src/cli/tables.js";
import { byteSize, duration, oneLine, terminalJson, timeAgo } from "../../src/cli/text.js";
import { digest, NOW, summary } from "./fake-world.js";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1092, "1.09 kB"],
  [4000, "4 kB"],
  [5006, "5.01 kB"],
  [1_986_012, "1.99 MB"],
  [213_900_000, "214 MB"],
  [999_499, "999 kB"],
  [999_500, "1 MB"],
  [1e21, "1000 EB"],
])("%d bytes are %s", (bytes, text) => {
  expect(byteSize(bytes)).toBe(text);
});

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test.each([
  [-5000, "Less than a second ago"],
  [999, "Less than a second ago"],
  [1500, "1 second ago"],
  [59_999, "59 seconds ago"],
  [MINUTE, "About a minute ago"],
  [2 * MINUTE, "2 minutes ago"],
  [59.9 * MINUTE, "59 minutes ago"],
  [60 * MINUTE, "About an hour ago"],
  [1.4 * HOUR, "About an hour ago"],
  [1.5 * HOUR, "2 hours ago"],
  [47.4 * HOUR, "47 hours ago"],
  [2 * DAY, "2 days ago"],
  [13.9 * DAY, "13 days ago"],
  [14 * DAY, "2 weeks ago"],
  [59 * DAY, "8 weeks ago"],
  [60 * DAY, "2 months ago"],
  [700 * DAY, "23 months ago"],
  [730 * DAY, "2 years ago"],
])("%d ms is %s", (ms, text) => {
  expect(timeAgo(ms)).toBe(text);
});

test.each([
  [0, "0.0s"],
  [1234, "1.2s"],
  [59_960, "1m00s"],
  [125_400, "2m05s"],
])("%d ms last %s", (ms, text) => {
  expect(duration(ms)).toBe(text);
});

describe("X11: what comes from outside cannot steer the terminal", () => {
  test("in a line", () => {
    expect(oneLine("a\u001b]52;c;eA==\u0007\u001b[2J\r\nb\t\u009b\u007f\u202e")).toBe(
      "a\\x1b]52;c;eA==\\x07\\x1b[2J\\x0d\\nb\\t\\x9b\\x7f\\u202e",
    );
    expect(oneLine("grüße 日本 🎉")).toBe("grüße 日本 🎉");
  });

  test("in JSON, which still means the same", () => {
    const value = { label: "\u001b[2J\u009b\u007f\u202e\n" };
    const text = terminalJson([value], "  ");
    expect(text).toMatch(/^[\n\x20-\x7e]+$/);
    expect(JSON.parse(text)).toEqual([value]);
  });

  test("in tables", () => {
    const hostile = "\u001b[2Jx\ny";
    const rows = imageRows([{ ...summary, names: [`localhost/${hostile}:${hostile}`] }]);
    expect(imagesTable(rows, { now: NOW, noTrunc: false, noHeading: true })).toMatch(/^[\x20-\x7e]+\n$/);
    const row = { createdBy: hostile, comment: hostile, size: 0 };
    expect(historyTable([row], { now: NOW, noTrunc: true, human: true })).toMatch(
      /^[\x20-\x7e]+\n[\x20-\x7e]+\n$/,
    );
  });
});

test.each([
  ["localhost/hello:latest", "localhost/hello", "latest"],
  ["host:5000/app", "host:5000/app", "<none>"],
  ["host:5000/app:1", "host:5000/app", "1"],
  [`host/app@${digest("a")}`, "host/app", "<none>"],
])("%s splits into %s and %s", (name, repository, tag) => {
  expect(splitName(name)).toEqual({ repository, tag });
});

test("the images table reads like podman's", () => {
  const images = [
    { ...summary, id: digest("1"), names: [], created: NOW - 5000, size: 1_986_012 },
    { ...summary, names: ["localhost/other:1", "localhost/hello:latest"] },
    {
      ...summary,
      id: digest("c"),
      names: ["host.example:5000/a/very/long/name:v1.2"],
      created: NOW - 1000,
      size: 1092,
    },
  ];
  const rows = imageRows(newestFirst(images));
  const table = (options: object) =>
    imagesTable(rows, { now: NOW, noTrunc: false, noHeading: false, ...options });
  expect(table({})).toMatchInlineSnapshot(`
    "REPOSITORY                          TAG         IMAGE ID      CREATED        SIZE
    host.example:5000/a/very/long/name  v1.2        cccccccccccc  1 second ago   1.09 kB
    <none>                              <none>      111111111111  5 seconds ago  1.99 MB
    localhost/hello                     latest      aaaaaaaaaaaa  2 hours ago    214 MB
    localhost/other                     1           aaaaaaaaaaaa  2 hours ago    214 MB
    "
  `);
  expect(table({ noHeading: true, digests: new Map([[digest("1"), digest("9")]]) })).toMatchInlineSnapshot(`
    "host.example:5000/a/very/long/name  v1.2        <none>                                                                   cccccccccccc  1 second ago   1.09 kB
    <none>                              <none>      sha256:9999999999999999999999999999999999999999999999999999999999999999  111111111111  5 seconds ago  1.99 MB
    localhost/hello                     latest      <none>                                                                   aaaaaaaaaaaa  2 hours ago    214 MB
    localhost/other                     1           <none>                                                                   aaaaaaaaaaaa  2 hours ago    214 MB
    "
  `);
  expect(imagesTable([], { now: NOW, noTrunc: false, noHeading: false })).toBe(
    "REPOSITORY  TAG         IMAGE ID    CREATED     SIZE\n",
  );
});

test("the history table reads like podman's", () => {
  const rows = [
    {
      id: digest("a"),
      created: "2026-01-02T11:59:59Z",
      createdBy: '/bin/sh -c #(nop) ENTRYPOINT ["/bin/busybox"]',
      size: 0,
      comment: "",
    },
    {
      created: "2026-01-02T11:58:59Z",
      createdBy: `COPY ${"x".repeat(60)}`,
      size: 2048,
      comment: "FROM 5987e4583668",
    },
    { createdBy: "ADD base.tar", size: 4_000_000, comment: "" },
  ];
  expect(historyTable(rows, { now: NOW, noTrunc: false, human: true })).toMatchInlineSnapshot(`
    "ID            CREATED             CREATED BY                                     SIZE        COMMENT
    aaaaaaaaaaaa  1 second ago        /bin/sh -c #(nop) ENTRYPOINT ["/bin/busybox"]  0 B         
    <missing>     About a minute ago  COPY xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...  2.05 kB     FROM 5987e4583668
    <missing>     <none>              ADD base.tar                                   4 MB        
    "
  `);
  expect(historyTable(rows, { now: NOW, noTrunc: true, human: false })).toMatchInlineSnapshot(`
    "ID                                                                CREATED                   CREATED BY                                                         SIZE        COMMENT
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  2026-01-02T11:59:59.000Z  /bin/sh -c #(nop) ENTRYPOINT ["/bin/busybox"]                      0           
    <missing>                                                         2026-01-02T11:58:59.000Z  COPY xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  2048        FROM 5987e4583668
    <missing>                                                         <none>                    ADD base.tar                                                       4000000     
    "
  `);
});
