/** The layers and the rules of the source, held by reading every file. This table is the only one of its kind. */
import { glob, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import {
  ambientViolations,
  assertionViolations,
  layerViolations,
  nameViolations,
  powerViolations,
  shapeViolations,
  type SourceFile,
} from "./support/source-rules.ts";

/** Who may import whom. A layer may always import itself; `app` is where everything below `cli` is put together. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  cli: ["base", "api", "client", "app"],
  sdk: ["base", "model", "api", "client", "app", "caps", "net", "rpc", "worker"],
  app: [
    "base",
    "model",
    "generated",
    "api",
    "rpc",
    "caps",
    "channel",
    "net",
    "store",
    "sandbox",
    "inspect",
    "worker",
    "gateway",
  ],
  dashboard: ["api", "client"],
  client: ["base", "api"],
  gateway: ["base", "model", "api", "rpc", "caps", "channel", "store", "inspect"],
  worker: ["base", "model", "rpc", "caps", "sandbox", "inspect"],
  store: ["base", "model"],
  net: ["base", "rpc"],
  channel: ["base", "rpc", "caps"],
  caps: ["base", "model", "rpc", "generated"],
  rpc: ["base", "generated"],
  api: ["base", "model"],
  inspect: ["base", "model", "sandbox"],
  sandbox: ["base"],
  model: ["base"],
  generated: [],
  base: [],
};

/** Files, sockets, processes. */
const POWERFUL_FOLDERS = [
  "src/net/",
  "src/store/",
  "src/sandbox/",
  "src/inspect/",
  "src/worker/",
  "src/gateway/http/",
  "src/app/",
  "src/cli/",
];

/** Environment, time, chance and console, besides `app/` and `cli/`. */
const AMBIENT_FOLDERS = [
  "src/app/",
  "src/cli/",
  // The machine's time, made here for everybody.
  "src/base/system-clock.ts",
  // Entries of child processes: composition roots of their own.
  "src/worker/runner/child/",
  "src/store/sqlite/thread-entry.ts",
];

const root = fileURLToPath(new URL("..", import.meta.url));

async function readSources(pattern: string): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  for await (const path of glob(pattern, { cwd: root })) {
    if (path.startsWith("src/generated/")) continue;
    files.push({
      path: path.replaceAll("\\", "/"),
      text: await readFile(new URL(`../${path}`, import.meta.url), "utf8"),
    });
  }
  return files;
}

const sources = await readSources("src/**/*.ts");
const tests = await readSources("test/**/*.ts");

describe("the sources", () => {
  test("are found", () => expect(sources.length).toBeGreaterThan(50));

  test("import only what their layer may", () => {
    expect(sources.flatMap((file) => layerViolations(file, LAYERS))).toEqual([]);
  });

  test("use files, sockets and processes only in the layers that own them", () => {
    expect(sources.flatMap((file) => powerViolations(file, POWERFUL_FOLDERS))).toEqual([]);
  });

  test("take environment, time, chance and console from their callers", () => {
    expect(sources.flatMap((file) => ambientViolations(file, AMBIENT_FOLDERS))).toEqual([]);
  });

  test("have names that say something", () => {
    expect([...sources, ...tests].flatMap(nameViolations)).toEqual([]);
  });

  test("have a header, no default export, no barrel, and are short or say why not", () => {
    expect(sources.flatMap(shapeViolations)).toEqual([]);
  });

  test("assert types only where they decode or parse", () => {
    expect(sources.flatMap(assertionViolations)).toEqual([]);
  });
});

describe("the rules", () => {
  const file = (path: string, text: string): SourceFile => ({ path, text });

  test.each([
    ["an import", 'import { x } from "../net/host.ts";'],
    ["a type import", 'import type { X } from "../net/host.ts";'],
    ["an import of several lines", 'import {\n  x,\n  type Y,\n} from "../net/host.ts";'],
    ["an export from", 'export { x } from "../net/host.ts";'],
    ["an import for its effect", 'import "../net/host.ts";'],
    ["a dynamic import", 'const net = await import("../net/host.ts");'],
    ["a type by import()", 'let host: import("../net/host.ts").Host;'],
    ["a file that is started", 'fork(new URL("../net/host.ts", import.meta.url));'],
    ["an import from a deeper folder", 'import { x } from "../../net/host.ts";'],
  ])("find %s across layers", (name, text) => {
    const path = name.includes("deeper") ? "src/worker/runner/pool.ts" : "src/worker/server.ts";
    expect(layerViolations(file(path, text), LAYERS)).toHaveLength(1);
  });

  test("let a layer import itself and what the table allows, and skip comments and packages", () => {
    const text = [
      'import { a } from "./slots.ts";',
      'import { b } from "../base/errors.ts";',
      'import { c } from "zod";',
      '// import { d } from "../net/host.ts";',
      '/* import { e } from "../net/host.ts"; */',
    ].join("\n");
    expect(layerViolations(file("src/worker/server.ts", text), LAYERS)).toEqual([]);
  });

  test("find a folder that is no layer", () => {
    expect(layerViolations(file("src/extra/x.ts", ""), LAYERS)).toHaveLength(1);
  });

  test("find files and sockets where they do not belong", () => {
    const text = 'import { readFile } from "node:fs/promises";\nimport { connect } from "node:net";';
    expect(powerViolations(file("src/rpc/vat.ts", text), POWERFUL_FOLDERS)).toHaveLength(2);
    expect(powerViolations(file("src/net/dialer.ts", text), POWERFUL_FOLDERS)).toEqual([]);
  });

  test.each(["process.env.HOME", "Date.now()", "Math.random()", 'console.log("x")', "new Date()"])(
    "find %s",
    (code) => {
      expect(ambientViolations(file("src/rpc/vat.ts", `const x = ${code};`), AMBIENT_FOLDERS)).toHaveLength(1);
      expect(ambientViolations(file("src/app/x.ts", `const x = ${code};`), AMBIENT_FOLDERS)).toEqual([]);
      expect(ambientViolations(file("src/rpc/vat.ts", `// never ${code}`), AMBIENT_FOLDERS)).toEqual([]);
    },
  );

  test.each(["task-manager", "helpers", "string-utils", "common", "task-info", "worker-node", "camelCase", "data"])(
    "refuse a file named %s",
    (name) => expect(nameViolations(file(`src/base/${name}.ts`, ""))).not.toEqual([]),
  );

  test("let other names pass", () => {
    expect(nameViolations(file("src/net/data-directory.ts", ""))).toEqual([]);
  });

  test.each([
    ["no header", "export const x = 1;\n"],
    ["a default export", "/** X. */\nexport default 1;\n"],
    ["a star export", '/** X. */\nexport * from "./x.ts";\n'],
    ["a barrel", '/** X. */\nexport { x } from "./x.ts";\nexport type { Y } from "./y.ts";\n'],
    ["too many lines", `/** X. */\n${"export const x = 1;\n".repeat(400)}`],
    ["a FIXME", "/** X. */\n// FIXME: no\n"],
    ["a loose TODO", "/** X. */\n// TODO: later\n"],
  ])("find %s", (_name, text) => expect(shapeViolations(file("src/base/x.ts", text))).toHaveLength(1));

  test("let a file with its header, and a long one with its reason, pass", () => {
    expect(shapeViolations(file("src/base/x.ts", "/** X. */\n// TODO(perf): cache\nexport const x = 1;\n"))).toEqual(
      [],
    );
    const long = `/** X. It is long because of its table. */\n${"const x = 1;\n".repeat(400)}`;
    expect(shapeViolations(file("src/base/x.ts", long))).toEqual([]);
  });

  test("find a type assertion outside of decode and parse functions", () => {
    const inFunction = (name: string): string =>
      `/** X. */\nexport function ${name}(x: unknown): X {\n  return x as X;\n}\n`;
    expect(assertionViolations(file("src/base/x.ts", inFunction("makeX")))).toHaveLength(1);
    expect(assertionViolations(file("src/base/x.ts", inFunction("parseX")))).toEqual([]);
    const allowed = 'import { a as b } from "./a.ts";\nconst c = [1] as const;\n';
    expect(assertionViolations(file("src/base/x.ts", allowed))).toEqual([]);
  });
});
