/**
 * The launcher, in a folder that looks like a clone, with an npm that only pretends: it makes node_modules and counts how
 * often it was called.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const source = (name: string): string => fileURLToPath(new URL(`../../src/cli/${name}`, import.meta.url));

/** Installs as npm would: from a lock file, away with what was there. `FAKE_NPM_FAILS` is a list of commands that fail. */
const FAKE_NPM = `
import { appendFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync, readFileSync, copyFileSync } from "node:fs";
const [command] = process.argv.slice(2);
appendFileSync("npm-calls", command + "\\n");
console.log("npm talks on stdout");
if ((process.env.FAKE_NPM_FAILS ?? "").split(",").includes(command)) process.exit(1);
await new Promise((done) => setTimeout(done, Number(process.env.FAKE_NPM_MS ?? 0)));
rmSync("node_modules", { recursive: true, force: true });
mkdirSync("node_modules/.bin", { recursive: true });
mkdirSync("node_modules/node/bin", { recursive: true });
writeFileSync("node_modules/node/package.json", "{}");
symlinkSync(process.env.FAKE_NPM_NODE, "node_modules/node/bin/node");
writeFileSync("node_modules/.bin/say", "console.log(process.versions.node.split('.')[0], process.argv.slice(2).join(' ')); process.exit(Number(process.env.SAY_CODE ?? 0));");
copyFileSync("package-lock.json", "node_modules/.package-lock.json");
`;

class Clone implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Clone> {
    const clone = new Clone(await mkdtemp(join(tmpdir(), "capmesh-launch-")));
    await mkdir(join(clone.folder, "src/cli"), { recursive: true });
    for (const name of ["launch.mjs", "lifeline.mjs", "capmesh.mjs"])
      await cp(source(name), clone.path("src/cli", name));
    await mkdir(clone.path("npm"));
    await writeFile(clone.path("npm/npm-cli.js"), FAKE_NPM);
    await writeFile(clone.path("package.json"), '{"type":"module"}');
    await clone.lock({ "": {}, "node_modules/node": { version: "26.0.0" } });
    return clone;
  }

  path(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  async lock(packages: object): Promise<void> {
    await writeFile(this.path("package-lock.json"), JSON.stringify({ packages }));
  }

  env(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    return {
      PATH: process.env["PATH"],
      npm_execpath: this.path("npm/npm-cli.js"),
      FAKE_NPM_NODE: process.execPath,
      ...more,
    };
  }

  launch(args: readonly string[], env: Readonly<Record<string, string>> = {}, node = process.execPath) {
    const options = { cwd: this.folder, env: this.env(env), encoding: "utf8" } as const;
    return spawnSync(node, [this.path("src/cli/launch.mjs"), ...args], options);
  }

  async npmCalls(): Promise<readonly string[]> {
    if (!existsSync(this.path("npm-calls"))) return [];
    return (await readFile(this.path("npm-calls"), "utf8")).trim().split("\n");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

const major = process.versions.node.split(".")[0] ?? "";

test("installs on the first start, not on the second, and keeps stdout for the program", async () => {
  await using clone = await Clone.create();
  const first = clone.launch(["say", "a", "b"]);
  const second = clone.launch(["say", "c"]);
  expect(first).toMatchObject({ status: 0, stdout: `${major} a b\n` });
  expect(first.stderr).toContain("npm talks on stdout");
  expect(second).toMatchObject({ status: 0, stdout: `${major} c\n`, stderr: "" });
  expect(await clone.npmCalls()).toEqual(["ci"]);
});

test("installs again when the lock file has changed", async () => {
  await using clone = await Clone.create();
  clone.launch(["say"]);
  await clone.lock({ "": {}, "node_modules/node": { version: "26.0.1" } });
  clone.launch(["say"]);
  expect(await clone.npmCalls()).toEqual(["ci", "ci"]);
});

test("takes what somebody else has installed from the same lock file", async () => {
  await using clone = await Clone.create();
  clone.launch(["say"]);
  await rm(clone.path("node_modules/.capmesh-stamp"));
  clone.launch(["say"]);
  expect(await clone.npmCalls()).toEqual(["ci"]);
  const stamp = await readFile(clone.path("node_modules/.capmesh-stamp"), "utf8");
  expect(stamp).toBe(
    createHash("sha256")
      .update(await readFile(clone.path("package-lock.json")))
      .digest("hex"),
  );
});

test("installs once when several start at the same time", async () => {
  await using clone = await Clone.create();
  const start = (): Promise<number | null> =>
    new Promise((ended) => {
      const options = { cwd: clone.folder, env: clone.env({ FAKE_NPM_MS: "500" }), stdio: "ignore" } as const;
      spawn(process.execPath, [clone.path("src/cli/launch.mjs"), "say"], options).on("exit", ended);
    });
  expect(await Promise.all([start(), start(), start()])).toEqual([0, 0, 0]);
  expect(await clone.npmCalls()).toEqual(["ci"]);
  expect(existsSync(clone.path(".install-lock"))).toBe(false);
});

test("takes over the lock of a process that died", async () => {
  await using clone = await Clone.create();
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  await writeFile(clone.path(".install-lock"), String(dead));
  expect(clone.launch(["say"]).status).toBe(0);
  expect(await clone.npmCalls()).toEqual(["ci"]);
});

test("goes on with npm install where npm ci refuses", async () => {
  await using clone = await Clone.create();
  expect(clone.launch(["say"], { FAKE_NPM_FAILS: "ci" }).status).toBe(0);
  expect(await clone.npmCalls()).toEqual(["ci", "install"]);
});

test("says what failed when nothing can be installed, and tries again the next time", async () => {
  await using clone = await Clone.create();
  const failed = clone.launch(["say"], { FAKE_NPM_FAILS: "ci,install" });
  expect(failed.status).toBe(1);
  expect(failed.stderr).toMatch(/capmesh: `.*install.*` failed/);
  expect(failed.stderr).not.toContain("at async");
  expect(clone.launch(["say"]).status).toBe(0);
});

test("passes the program's exit code on", async () => {
  await using clone = await Clone.create();
  expect(clone.launch(["say"], { SAY_CODE: "7" }).status).toBe(7);
});

test("names a program that is not there", async () => {
  await using clone = await Clone.create();
  const failed = clone.launch(["sing"]);
  expect(failed.status).toBe(1);
  expect(failed.stderr).toContain('there is no program "sing"');
});

test("leaves a published package alone: it has no lock file", async () => {
  await using clone = await Clone.create();
  await rm(clone.path("package-lock.json"));
  await writeFile(clone.path("program.mjs"), "console.log('ran')");
  expect(clone.launch(["./program.mjs"])).toMatchObject({ status: 0, stdout: "ran\n" });
  expect(await clone.npmCalls()).toEqual([]);
});

test.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("passes %s on once, and ends as the program did", async (signal, code) => {
  await using clone = await Clone.create();
  const program = `
    let count = 0;
    process.on("${signal}", () => { count++; setTimeout(() => { console.log("got", count); process.exit(${code}); }, 200); });
    setInterval(() => {}, 1000);
    console.log("up");`;
  await writeFile(clone.path("program.mjs"), program);
  const launcher = spawn(process.execPath, [clone.path("src/cli/launch.mjs"), "./program.mjs"], {
    cwd: clone.folder,
    env: clone.env(),
    stdio: ["ignore", "pipe", "ignore"],
  });
  let stdout = "";
  launcher.stdout.on("data", (bytes: Buffer) => {
    if (stdout === "") launcher.kill(signal);
    stdout += bytes.toString();
  });
  const status = await new Promise((ended) => launcher.on("close", ended));
  expect({ status, stdout }).toEqual({ status: code, stdout: "up\ngot 1\n" });
});

test("takes its program along when it is killed", async () => {
  await using clone = await Clone.create();
  await writeFile(clone.path("program.mjs"), "console.log(process.pid); setInterval(() => {}, 1000);");
  const launcher = spawn(process.execPath, [clone.path("src/cli/launch.mjs"), "./program.mjs"], {
    cwd: clone.folder,
    env: clone.env(),
    stdio: ["ignore", "pipe", "inherit"],
  });
  launcher.stdout.once("data", () => launcher.kill("SIGKILL"));
  // The program holds the other end of this pipe: it closes when both are gone.
  await new Promise((closed) => launcher.stdout.on("close", closed));
  expect(launcher.signalCode ?? "SIGKILL").toBe("SIGKILL");
});

test("ends its program in order when npm's shell dies of a signal without passing it on", async () => {
  await using clone = await Clone.create();
  const program = `
    process.on("SIGTERM", () => { console.log("drained"); process.exit(0); });
    setInterval(() => {}, 1000);
    console.log("up");`;
  await writeFile(clone.path("program.mjs"), program);
  // A shell that stays, as npm's does: it has something to do afterwards.
  const command = `"${process.execPath}" src/cli/launch.mjs ./program.mjs; true`;
  const shell = spawn("sh", ["-c", command], {
    cwd: clone.folder,
    env: clone.env({ npm_lifecycle_event: "npx" }),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  shell.stdout.on("data", (bytes: Buffer) => {
    if (stdout === "") shell.kill("SIGTERM");
    stdout += bytes.toString();
  });
  // Closed when shell, launcher and program are gone.
  await new Promise((closed) => shell.stdout.on("close", closed));
  expect(stdout).toBe("up\ndrained\n");
});

/** A Node of the machine that is too old for the project, if there is one. */
function findOldNode(): string | undefined {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const node = join(folder, "node");
    if (!existsSync(node)) continue;
    const version = Number(execFileSync(node, ["-p", "process.versions.node.split('.')[0]"], { encoding: "utf8" }));
    if (version >= 18 && version < 26) return node;
  }
  return undefined;
}

const oldNode = findOldNode();

test.skipIf(oldNode === undefined)(
  "runs the program with the Node of the dependencies where the machine's is old",
  async () => {
    await using clone = await Clone.create();
    expect(clone.launch(["say", "x"], {}, oldNode)).toMatchObject({ status: 0, stdout: `${major} x\n` });
  },
);

test.skipIf(oldNode === undefined)("the bin runs main.ts, from wherever it is called, by a link too", async () => {
  await using clone = await Clone.create();
  await writeFile(
    clone.path("src/cli/main.ts"),
    "const args: string[] = process.argv.slice(2); console.log(args.join('|'));",
  );
  await symlink(clone.path("src/cli/capmesh.mjs"), clone.path("capmesh"));
  const options = { cwd: tmpdir(), env: clone.env(), encoding: "utf8" } as const;
  const byOld = spawnSync(oldNode ?? "", [clone.path("capmesh"), "a", "--b"], options);
  const byNew = spawnSync(process.execPath, [clone.path("capmesh"), "a", "--b"], options);
  expect([byOld.stdout, byNew.stdout]).toEqual(["a|--b\n", "a|--b\n"]);
});
