import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { readConfigSources } from "../../src/app/config-files.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "capmesh-config-"));
  vi.stubEnv("HOME", folder);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

test("reads the project's file before the user's", async () => {
  await mkdir(join(folder, ".config/capmesh"), { recursive: true });
  await mkdir(join(folder, "project"));
  await writeFile(join(folder, ".config/capmesh/config.json"), '{"ns":"user"}');
  await writeFile(join(folder, "project/capmesh.json"), '{"ns":"project"}');
  const { files, machine } = readConfigSources({}, join(folder, "project"));
  expect(files.map(({ kind, content }) => [kind, content])).toEqual([
    ["project", { ns: "project" }],
    ["user", { ns: "user" }],
  ]);
  expect(machine).toMatchObject({ home: folder, workingFolder: join(folder, "project") });
  expect(machine.cores).toBeGreaterThan(0);
});

test("goes without files that are not there", () => {
  expect(readConfigSources({}, folder).files).toEqual([]);
});

test("names a file that is not JSON", async () => {
  await writeFile(join(folder, "capmesh.json"), "{ns:");
  expect(() => readConfigSources({}, folder)).toThrow(/capmesh\.json: not valid JSON/);
});

test("names a file that cannot be read", async () => {
  await mkdir(join(folder, "capmesh.json"));
  expect(() => readConfigSources({}, folder)).toThrow(/capmesh\.json: cannot be read/);
});
