import { describe, expect, test } from "vitest";
import * as values from "../../src/app/config-values.ts";

const PLACE = { folder: "/srv/ada", home: "/home/ada" };
const PEER = "12D3KooWGRUhn4sKjkPpWJrDUcF5iYFkYJFW7vFAVjLqkBFq2pPP";

const CASES: readonly (readonly [
  string,
  values.ValueParser<unknown>,
  readonly (readonly [string, unknown])[],
  readonly string[],
])[] = [
  [
    "host:port",
    values.parseHostPort,
    [
      ["127.0.0.1:8080", { host: "127.0.0.1", port: 8080 }],
      ["[::1]:0", { host: "::1", port: 0 }],
      ["example.org:65535", { host: "example.org", port: 65_535 }],
    ],
    ["", "8080", ":8080", "host", "host:", "host:65536", "::1:80", "a b:80", "http://h:80"],
  ],
  [
    "dial",
    values.parseDial,
    [
      [PEER, PEER],
      [`${PEER}#a-secret`, `${PEER}#a-secret`],
      [`/ip4/10.0.0.1/tcp/4077/p2p/${PEER}`, `/ip4/10.0.0.1/tcp/4077/p2p/${PEER}`],
      ["gateway.lan:4077", "gateway.lan:4077"],
    ],
    ["", "nonsense", `${PEER}#`, `${PEER}#a b-secret`, `${PEER}#short`, "#a-secret"],
  ],
  [
    "listen",
    values.parseListen,
    [["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0"]],
    ["", "0.0.0.0:1", "/ip4/0.0.0.0/udp/1"],
  ],
  [
    "rpc",
    values.parseRpc,
    [
      ["tcp:127.0.0.1:5000", "tcp:127.0.0.1:5000"],
      ["tcp:[::1]:5000", "tcp:[::1]:5000"],
      ["unix:run/x.sock", "unix:/srv/ada/run/x.sock"],
    ],
    ["", "tcp:0.0.0.0:5000", "tcp:10.0.0.1:5000", "unix:", "5000"],
  ],
  [
    "namespace",
    values.parseNamespace,
    [["my-Cluster_1", "my-Cluster_1"]],
    ["", "-a", "a/b", "a.b", "a".repeat(41), "é"],
  ],
  [
    "slots",
    values.parseSlots,
    [
      ["1", 1],
      ["1024", 1_024],
    ],
    ["0", "1025", "-1", "1.5", "1e2", ""],
  ],
  [
    "weight",
    values.parseWeight,
    [
      ["0", 0],
      ["1", 1],
      ["1000000", 1_000_000],
    ],
    ["0.5", ".5", "1.0", "-1", "x", "", "1e9", "1000001"],
  ],
  ["pick", values.parsePick, [["locality", "locality"]], ["", "Random", "best"]],
  [
    "label",
    values.parseLabel,
    [
      ["a=b", ["a", "b"]],
      ["a/b.c=", ["a/b.c", ""]],
      ["a=b=c", ["a", "b=c"]],
      [`${"a".repeat(256)}=${"b".repeat(256)}`, ["a".repeat(256), "b".repeat(256)]],
    ],
    ["", "a", "=b", "__proto__=x", `${"a".repeat(257)}=b`, `a=${"b".repeat(257)}`],
  ],
  [
    "secret",
    values.parseSecret,
    [
      ["12345678", "12345678"],
      ["a".repeat(256), "a".repeat(256)],
    ],
    ["", "geheim", "a".repeat(257), "a b-secret", "a-secret\n", "geheimniß"],
  ],
  ["token", values.parseToken, [["abc", "abc"]], ["", "a b", "a\n", "ä", "a".repeat(1_025)]],
  ["host name", values.parseHostName, [["Gate.Example", "gate.example"]], ["", "a:1", "http://a", "a b"]],
  [
    "grace",
    values.parseGraceMs,
    [
      ["30", 30_000],
      ["500ms", 500],
      ["0", 0],
      ["1.5s", 1_500],
    ],
    ["", "soon", "-1", "2d"],
  ],
  [
    "lease",
    values.parseLeaseMs,
    [
      ["2", 2_000],
      ["10m", 600_000],
    ],
    ["", "999ms", "11m", "long"],
  ],
  [
    "queue",
    values.parseQueue,
    [
      ["1", 1],
      ["1000000", 1_000_000],
    ],
    ["", "0", "-1", "1.5", "1000001", "many"],
  ],
  [
    "retain",
    values.parseRetainMs,
    [
      ["30d", 2_592_000_000],
      ["90m", 5_400_000],
      ["0", undefined],
      ["off", undefined],
    ],
    ["", "never", "-1d", "100000d"],
  ],
  ["log level", values.parseLogLevel, [["debug", "debug"]], ["", "loud"]],
  ["log format", values.parseLogFormat, [["json", "json"]], ["", "xml"]],
  ["store", values.parseStore, [["sqlite:/a/b.db", "sqlite:/a/b.db"]], ["", "sqlite:", "postgres://x"]],
  [
    "path",
    values.parsePath,
    [
      ["a/b", "/srv/ada/a/b"],
      ["~/x", "/home/ada/x"],
      ["~x", "/srv/ada/~x"],
    ],
    [""],
  ],
  [
    "url",
    values.parseUrl,
    [
      ["http://h:1/", "http://h:1"],
      ["https://h/base/", "https://h/base"],
    ],
    ["", "h:1", "ftp://h", "x"],
  ],
  [
    "switch",
    values.parseSwitch,
    [
      ["true", true],
      ["0", false],
      ["ON", true],
      ["no", false],
    ],
    ["", "maybe", "2"],
  ],
];

describe.each(CASES)("%s", (_name, parse, accepted, refused) => {
  test.each(accepted)("takes %j", (text, value) => {
    expect(parse(text, PLACE)).toEqual({ value });
  });

  test.each(refused)("refuses %j and says what it expects", (text) => {
    expect(parse(text, PLACE)).toEqual({ expected: expect.stringMatching(/\w/) });
  });
});
