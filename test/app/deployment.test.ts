/** What `deploy/` and the Dockerfile say to Capmesh has to be what Capmesh understands. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { environmentName, settingKeys } from "../../src/app/config-settings.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FILES = ["Dockerfile", ...(await readdir(join(ROOT, "deploy"))).map((name) => `deploy/${name}`)];
const UNITS = FILES.filter((file) => file.endsWith(".service"));

const flags = new Set(settingKeys().map((key) => (key === "mdns" ? "--no-mdns" : `--${key}`)));
const variables = new Set(settingKeys().map(environmentName));

const read = (file: string): Promise<string> => readFile(join(ROOT, file), "utf8");

describe.each(FILES)("%s", (file) => {
  test("names settings that there are", async () => {
    const named = [...(await read(file)).matchAll(/\bCAPMESH_[A-Z]+(?:_[A-Z]+)*\b/g)].map(([name]) => name);
    expect(named.filter((name) => !variables.has(name))).toEqual([]);
  });

  test("gives commands flags that there are", async () => {
    const lines = (await read(file))
      .split("\n")
      .filter((line) => /^\s*(?:ExecStart=|command:|CMD \["--|ENTRYPOINT)/.test(line));
    const given = lines.flatMap((line) => line.match(/(?<=[\s"])--[a-z-]+/g) ?? []);
    expect(given.filter((flag) => !flags.has(flag))).toEqual([]);
  });
});

// It finds what the file's format, and the manual of each setting in it, do not allow.
const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;

test.runIf(hasSystemd).each(UNITS)("systemd takes %s", async (file) => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-unit-"));
  try {
    const path = join(folder, file.slice(file.lastIndexOf("/") + 1));
    // Whether Capmesh is installed there is not asked.
    await writeFile(path, (await read(file)).replace("/usr/local/bin/capmesh", process.execPath));
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", "--recursive-errors=no", path], {
      encoding: "utf8",
    });
    expect({ status, said: stderr }).toEqual({ status: 0, said: "" });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

const hasCompose = spawnSync("docker", ["compose", "version"]).status === 0;

test.runIf(hasCompose)("Docker Compose takes deploy/compose.yaml, and asks for its two secrets", () => {
  const config = (env: Readonly<Record<string, string>>): number | null =>
    spawnSync("docker", ["compose", "--file", "deploy/compose.yaml", "config", "--quiet"], {
      cwd: ROOT,
      env: { PATH: process.env["PATH"], ...env },
    }).status;
  expect(config({ CAPMESH_SECRET: "one", CAPMESH_ADMIN_TOKEN: "another" })).toBe(0);
  expect(config({ CAPMESH_SECRET: "one" })).not.toBe(0);
});
