import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/app/config.ts";
import { environmentName, settingKeys } from "../../src/app/config-settings.ts";
import type { ConfigSources } from "../../src/app/config-sources.ts";
import { ClusterError } from "../../src/base/errors.ts";
import { fc } from "../support/properties.ts";

const MACHINE = { cores: 6, home: "/home/ada", workingFolder: "/srv/ada" };

function sources(given: Partial<ConfigSources> = {}): ConfigSources {
  return { flags: {}, env: {}, files: [], machine: MACHINE, ...given };
}

function projectFile(content: unknown): ConfigSources["files"][number] {
  return { path: "/srv/ada/capmesh.json", kind: "project", content };
}

function userFile(content: unknown): ConfigSources["files"][number] {
  return { path: "/home/ada/.config/capmesh/config.json", kind: "user", content };
}

function problemsOf(given: Partial<ConfigSources>): readonly string[] {
  try {
    loadConfig(sources(given));
  } catch (thrown) {
    if (thrown instanceof ClusterError && thrown.code === "usage") return thrown.message.split("\n");
    throw thrown;
  }
  return [];
}

describe("defaults", () => {
  test("are the documented ones", () => {
    const { config } = loadConfig(sources());
    expect(config).toMatchObject({
      gateway: false,
      dial: [],
      http: { host: "127.0.0.1", port: 8080 },
      listen: undefined,
      rpc: undefined,
      namespace: "capmesh",
      mdns: true,
      data: undefined,
      store: undefined,
      slots: 6,
      pick: "random",
      labels: {},
      weight: 1,
      open: false,
      allowHosts: [],
      tls: undefined,
      graceMs: 30_000,
      leaseMs: 15_000,
      queue: 1_000_000,
      retainMs: 30 * 86_400_000,
      retainModulesMs: 7 * 86_400_000,
      log: "info",
      logFormat: "pretty",
      json: false,
      url: "http://127.0.0.1:8080",
      dataHome: "/home/ada/.local/share/capmesh",
      runtimeFolder: "/home/ada/.local/share/capmesh/run",
    });
  });

  test("put the runtime folder where the session has one", () => {
    const { config } = loadConfig(sources({ env: { XDG_RUNTIME_DIR: "/run/user/7" } }));
    expect(config.runtimeFolder).toBe("/run/user/7/capmesh");
  });

  test("have the default as their origin", () => {
    const { origins } = loadConfig(sources());
    expect(new Set(Object.values(origins).map(({ source }) => source))).toEqual(new Set(["default"]));
    expect(Object.keys(origins)).toEqual(settingKeys());
  });
});

describe("precedence", () => {
  const PLACES = ["flag", "environment", "project file", "user file"] as const;
  /** Settings whose values are easily told apart, with how to read them back. */
  const READERS = {
    ns: { make: (n: number) => `ns-${n}`, read: (l: ReturnType<typeof loadConfig>) => l.config.namespace },
    slots: { make: (n: number) => String(n + 1), read: (l: ReturnType<typeof loadConfig>) => String(l.config.slots) },
    secret: { make: (n: number) => `a-secret-${n}`, read: (l: ReturnType<typeof loadConfig>) => l.config.secret },
    url: { make: (n: number) => `http://h:${n + 1}`, read: (l: ReturnType<typeof loadConfig>) => l.config.url },
    "log-format": {
      make: (n: number) => (n % 2 === 0 ? "json" : "pretty"),
      read: (l: ReturnType<typeof loadConfig>) => l.config.logFormat,
    },
    label: {
      make: (n: number) => `a=${n}`,
      read: (l: ReturnType<typeof loadConfig>) => `a=${l.config.labels["a"] ?? "none"}`,
    },
  } as const;
  const keys = Object.keys(READERS).filter((key) => key in READERS);

  test("is flag, environment, project file, user file, for every setting by itself", () => {
    const choice = fc.record({
      flag: fc.option(fc.nat(1_000)),
      environment: fc.option(fc.nat(1_000)),
      "project file": fc.option(fc.nat(1_000)),
      "user file": fc.option(fc.nat(1_000)),
    });
    const given = fc.record({
      ns: choice,
      slots: choice,
      secret: choice,
      url: choice,
      "log-format": choice,
      label: choice,
    });
    fc.assert(
      fc.property(given, (chosen) => {
        const flags: Record<string, string> = {};
        const env: Record<string, string> = {};
        const project: Record<string, string> = {};
        const user: Record<string, string> = {};
        const targets = { flag: flags, environment: env, "project file": project, "user file": user };
        for (const [key, choices] of Object.entries(chosen)) {
          for (const place of PLACES) {
            const number = choices[place];
            const name = place === "environment" ? environmentName(key) : key;
            if (number !== null) targets[place][name] = valueOf(key, number);
          }
        }
        const loaded = loadConfig(sources({ flags, env, files: [projectFile(project), userFile(user)] }));
        for (const key of keys) {
          const choices = chosen[key as keyof typeof chosen];
          const winner = PLACES.find((place) => choices[place] !== null);
          const { read } = READERS[key as keyof typeof READERS];
          if (winner !== undefined) expect(read(loaded)).toBe(valueOf(key, choices[winner] ?? 0));
          expect(loaded.origins[key as keyof typeof loaded.origins].source).toBe(winner ?? "default");
        }
      }),
    );
    function valueOf(key: string, number: number): string {
      return READERS[key as keyof typeof READERS].make(key === "slots" ? number % 1_000 : number);
    }
  });

  test("takes a list whole from one source", () => {
    const { config } = loadConfig(sources({ flags: { "allow-host": ["a", "b,c"] }, env: { CAPMESH_ALLOW_HOST: "d" } }));
    expect(config.allowHosts).toEqual(["a", "b", "c"]);
  });

  test("treats an empty variable as one that is not set", () => {
    const { config } = loadConfig(sources({ env: { CAPMESH_HTTP: "" }, files: [projectFile({ http: "[::1]:1" })] }));
    expect(config.http).toEqual({ host: "::1", port: 1 });
  });
});

describe("spellings", () => {
  test("`--gateway true` is `--gateway`", () => {
    expect(loadConfig(sources({ flags: { gateway: "true" } })).config.gateway).toBe(true);
    expect(loadConfig(sources({ flags: { gateway: true } })).config.gateway).toBe(true);
    expect(loadConfig(sources({ env: { CAPMESH_GATEWAY: "1" } })).config.gateway).toBe(true);
  });

  test.each([
    ["a flag", { flags: { mdns: false } }],
    ["CAPMESH_NO_MDNS", { env: { CAPMESH_NO_MDNS: "1" } }],
    ["CAPMESH_MDNS", { env: { CAPMESH_MDNS: "false" } }],
    ["a file's no-mdns", { files: [projectFile({ "no-mdns": true })] }],
    ["a file's noMdns", { files: [projectFile({ noMdns: true })] }],
    ["a file's mdns", { files: [projectFile({ mdns: false })] }],
  ])("multicast is turned off by %s", (_name, given) => {
    expect(loadConfig(sources(given)).config.mdns).toBe(false);
  });

  test("file keys may be kebab-case or camelCase, values of their own type", () => {
    const file = projectFile({ logFormat: "json", slots: 3, open: true, label: { zone: "eu", disk: "ssd" }, dial: [] });
    const { config, origins } = loadConfig(sources({ files: [file] }));
    expect(config).toMatchObject({ logFormat: "json", slots: 3, open: true, labels: { zone: "eu", disk: "ssd" } });
    expect(origins["log-format"]).toEqual({ source: "project file", at: '/srv/ada/capmesh.json, key "log-format"' });
  });

  test("paths begin where they were written", () => {
    const files = [userFile({ data: "state", "tls-cert": "~/c.pem", "tls-key": "/k.pem" })];
    const { config } = loadConfig(sources({ flags: { store: "sqlite:x.db" }, files }));
    expect(config.data).toBe("/home/ada/.config/capmesh/state");
    expect(config.store).toBe("sqlite:/srv/ada/x.db");
    expect(config.tls).toEqual({ cert: "/home/ada/c.pem", key: "/k.pem" });
  });
});

describe("problems", () => {
  test("come out together, each with its place and what is right", () => {
    const problems = problemsOf({
      flags: { http: "foo", slots: "0" },
      env: { CAPMESH_PICK: "best" },
      files: [projectFile({ grace: "soon" })],
    });
    expect(problems).toHaveLength(4);
    expect(problems[0]).toMatch(/^--http: got "foo", expected host:port/);
    expect(problems[1]).toMatch(/^--slots: got "0", expected a whole number from 1/);
    expect(problems[2]).toMatch(/^CAPMESH_PICK: got "best", expected one of random, /);
    expect(problems[3]).toMatch(/^\/srv\/ada\/capmesh\.json, key "grace": got "soon", expected a duration/);
  });

  test("do not show secrets", () => {
    const [problem] = problemsOf({ flags: { secret: "has space" } });
    expect(problem).toMatch(/^--secret: expected/);
    expect(problem).not.toContain("has space");
  });

  test.each([
    ["an unknown key", { slotz: 1 }, 'key "slotz": there is no such setting; did you mean "slots"?'],
    ["a list where one value belongs", { ns: ["a", "b"] }, 'key "ns": expected one value'],
    ["a wrong type", { "allow-host": [1] }, 'key "allow-host": expected text or a list of texts'],
    ["no object", [1], "expected a JSON object"],
  ])("of a file: %s", (_name, content, expected) => {
    expect(problemsOf({ files: [projectFile(content)] }).join("\n")).toContain(expected);
  });

  test("do not show a secret that is too short, and say what one is", () => {
    expect(problemsOf({ flags: { secret: "geheim" } })).toEqual([
      "--secret: expected a join secret of 8 to 256 printable ASCII characters without spaces or commas",
    ]);
  });

  test("more labels than fit beside those that every worker has", () => {
    const labels = (count: number): string[] => Array.from({ length: count }, (_, index) => `l${index}=x`);
    expect(problemsOf({ flags: { label: [...labels(60), "host=mine"] } })).toEqual([]);
    expect(problemsOf({ flags: { label: labels(61) } })).toEqual([
      "--label: got 61 labels, expected at most 60 besides peer, host, os, arch",
    ]);
  });

  test("one half of TLS is missing", () => {
    expect(problemsOf({ flags: { "tls-cert": "c.pem" } })).toEqual([
      "--tls-key is missing: HTTPS takes both of the two",
    ]);
  });

  test("never come out as anything but a usage error, whatever the text", () => {
    fc.assert(
      fc.property(fc.constantFrom(...settingKeys()), fc.string(), (key, text) => {
        problemsOf({ flags: { [key]: text } });
        problemsOf({ env: { [environmentName(key)]: text } });
      }),
    );
  });
});
