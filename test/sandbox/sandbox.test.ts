/** What a process that has got out of Node's own walls can still do: with the machine's, nothing; without, all of it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import { Sandbox } from "../../src/sandbox/sandbox.ts";
import { WALL_NAMES, type WallName } from "../../src/sandbox/walls.ts";
import { ATTACK, type AttackResult, parseAttackResult } from "./attack.ts";

/** With these nothing of Node's own walls is left, so that the machine's stand alone. */
const NO_WALLS_OF_NODE = ["--allow-fs-read=*", "--allow-fs-write=*", "--allow-child-process", "--allow-net"];
const MIB = 1_048_576;
const limits = { dataBytes: 2_048 * MIB, descriptors: 64 };

let folder: string;
/** One for all: what a cell is does not depend on its walls. */
let scratchFolder: string;
let secretPath: string;
let openFolder: string;
let server: Server;
let all: Sandbox;
const neighbour = spawn("/bin/sleep", ["1000"], { stdio: "ignore" });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "capmesh-walls-"));
  await chmod(folder, 0o755);
  scratchFolder = join(folder, "scratch");
  secretPath = join(folder, "secret");
  await writeFile(secretPath, "of its owner alone", { mode: 0o600 });
  openFolder = join(folder, "open");
  await mkdir(openFolder);
  await chmod(openFolder, 0o777);
  server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  all = await Sandbox.open({ scratchFolder, log: silentLog });
});

afterAll(async () => {
  neighbour.kill("SIGKILL");
  server.close();
  await rm(folder, { recursive: true, force: true });
});

async function attackFrom(sandbox: Sandbox): Promise<AttackResult> {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return parseAttackResult(await evaluate(sandbox, ATTACK, [neighbour.pid ?? 0, port, secretPath, openFolder]));
}

/** Runs the source in a cell of the sandbox, where nothing but the machine's walls holds it; answers what it printed. */
async function evaluate(
  sandbox: Sandbox,
  source: string,
  args: readonly (string | number)[] = [],
  reads: readonly string[] = [],
): Promise<string> {
  const cell = await sandbox.openCell({ entry: "worker/runner/child/main", reads });
  // What follows the source is its arguments, the cell's own entry among them.
  const child = cell.spawn({
    flags: [...NO_WALLS_OF_NODE, "--no-warnings", "--eval", source, String(process.pid), ...args.map(String)],
    args: [],
    stdio: ["ignore", "pipe", "inherit"],
    limits,
  });
  const stdout = child.stdout;
  if (stdout === null) throw new Error("it has no stdout");
  return text(stdout);
}

function stateOf(name: WallName): string {
  return all.reports.find((report) => report.name === name)?.state ?? "absent";
}

/** Says why a wall is not tested here, where it is not. */
function needs(...names: readonly WallName[]): boolean {
  const missing = all.reports.filter(({ name, state }) => names.includes(name) && state === "absent");
  for (const { name, reason } of missing) process.stderr.write(`not tested, ${name} cannot be had here: ${reason}\n`);
  return missing.length === 0;
}

describe("the walls of this machine", () => {
  test("are each told of, with the reason where one is not up", () => {
    expect(all.reports.map(({ name }) => name)).toEqual([...WALL_NAMES]);
    for (const { state, reason } of all.reports) expect(state === "up" || (reason ?? "").length > 0).toBe(true);
  });

  test("are none where none is asked for", async () => {
    const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls: [] });
    const result = await attackFrom(sandbox);
    expect(result).toMatchObject({
      signalsOwner: true,
      signalsNeighbour: true,
      readsSecret: true,
      overwritesSecret: true,
      seesFiles: true,
      writesFile: true,
      connects: true,
      startsShell: true,
      forks: 40,
    });
  });

  test("together leave nothing to a process that has got out of Node's", async (context) => {
    if (!needs("user-namespace", "pid-namespace", "network-namespace", "file-system")) context.skip();
    expect(await attackFrom(all)).toEqual({
      signalsOwner: false,
      signalsNeighbour: false,
      reachesProcesses: 0,
      readsSecret: false,
      overwritesSecret: false,
      seesFiles: false,
      writesFile: false,
      connects: false,
      startsShell: false,
      forks: 0,
      uid: 65_534,
    });
  });
});

test.each<{ which: string; walls: readonly WallName[] }>([
  { which: "all of the machine's", walls: WALL_NAMES },
  { which: "none but Node's own", walls: [] },
])("behind $which walls a process has no environment of ours", async ({ walls }) => {
  const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls });
  const names = await evaluate(sandbox, `process.stdout.write(Object.keys(process.env).join(" "))`);
  // But what a shell adds by itself.
  expect(names.split(" ").filter((name) => !["", "_", "PWD", "SHLVL"].includes(name))).toEqual([]);
});

describe("one wall alone", () => {
  test.for<{ walls: readonly WallName[]; holds: Partial<AttackResult> }>([
    {
      walls: ["user-namespace", "pid-namespace"],
      holds: { signalsOwner: false, signalsNeighbour: false, reachesProcesses: 0, connects: true, seesFiles: true },
    },
    { walls: ["user-namespace", "network-namespace"], holds: { connects: false, startsShell: true } },
    {
      walls: ["user-namespace", "file-system"],
      holds: { readsSecret: false, overwritesSecret: false, writesFile: false, startsShell: false, connects: true },
    },
    { walls: ["resource-limits"], holds: { writesFile: false, readsSecret: true } },
    {
      walls: ["no-new-privileges", "unprivileged-user"],
      holds: { signalsOwner: false, readsSecret: false, overwritesSecret: false },
    },
  ])("of $walls holds what it is for", async ({ walls, holds }, context) => {
    if (!needs(...walls) || walls.some((name) => stateOf(name) === "not-needed")) context.skip();
    const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls });
    expect(await attackFrom(sandbox)).toMatchObject(holds);
  });

  test("gives way where what a process reads lies in a folder that is closed to all but root", async () => {
    const closed = await mkdtemp(join(await realpath(folder), "closed-"));
    const reads = join(closed, "packages");
    await mkdir(reads);
    await writeFile(join(reads, "text"), "read");
    const source = `process.stdout.write(process.getBuiltinModule("fs").readFileSync(process.argv[2], "utf8"))`;
    expect(await evaluate(all, source, [join(reads, "text")], [reads])).toBe("read");
  });

  test("against memory makes Node fail cleanly where it asks for too much", async (context) => {
    if (!needs("resource-limits")) context.skip();
    const hoard = `
      const kept = [];
      try { for (;;) kept.push(new ArrayBuffer(64 * 1048576)); } catch (error) { process.stdout.write(error.message); }
    `;
    expect(await evaluate(all, hoard)).toBe("Array buffer allocation failed");
  });

  test("against processes bounds how many there can be", async (context) => {
    const walls = ["user-namespace", "resource-limits", "no-new-privileges", "unprivileged-user"] as const;
    if (!needs(...walls)) context.skip();
    const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls });
    expect((await attackFrom(sandbox)).forks).toBeLessThan(32);
  });
});
