/**
 * Starts a program of this project on whatever Node the machine has: installs the dependencies if they are missing or
 * out of date, finds a Node that is new enough, and runs the program with it. Plain JavaScript for Node 18 and later,
 * without dependencies, because it runs before there are any.
 *
 *     node src/cli/launch.mjs vitest run      # a program of node_modules/.bin
 *     node src/cli/launch.mjs ./x.ts a b      # a file
 *
 * Talk goes to stderr; stdout belongs to the program. A program that needs another process lives and dies with this one:
 * signals are passed on, its exit code is ours, and when this process is killed a lifeline (`lifeline.mjs`) ends it.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const NODE_MAJOR_MIN = 26;
const LOCK_POLL_MS = 200;
const PARENT_POLL_MS = 100;
/** A lock on stealing a lock is held for a few system calls. One this old was left by a process that died. */
const STEAL_LOCK_AGE_MS_MAX = 10_000;

const root = fileURLToPath(new URL("../..", import.meta.url));
const modules = join(root, "node_modules");
const stampPath = join(modules, ".capmesh-stamp");
const lifelinePath = fileURLToPath(new URL("./lifeline.mjs", import.meta.url));

export const isCurrentNodeNewEnough = Number(process.versions.node.split(".")[0]) >= NODE_MAJOR_MIN;

/** What to say when it cannot be done. Printed without a stack. */
class LaunchError extends Error {}

/**
 * Installs what `package-lock.json` names, unless that is there. Of several processes one installs; the others wait.
 * A published package has no lock file: whoever installed it installed its dependencies.
 */
export async function ensureInstalled() {
  const lockFile = join(root, "package-lock.json");
  if (!existsSync(lockFile) || isInstalled(lockFile)) return;
  await withLock(join(root, ".install-lock"), async () => {
    if (isInstalled(lockFile)) return;
    process.stderr.write("capmesh: installing dependencies (npm ci), once\n");
    await install();
    if (!existsSync(packagedNode())) {
      // Where npm is set not to run install scripts, this one is still needed: it fetches the Node binary.
      await run(process.execPath, ["installArchSpecificPackage.js"], join(modules, "node"));
    }
    writeStamp(lockFile);
  });
}

/** A registry that lacks some platform's packages makes `npm ci` refuse; `npm install` goes on with what there is. */
async function install() {
  const options = ["--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  try {
    await runNpm(["ci", ...options]);
  } catch (error) {
    process.stderr.write(`capmesh: ${error.message}; trying npm install\n`);
    await runNpm(["install", "--no-save", ...options]);
  }
}

/** The stamp says which lock file was installed. Without it, npm's own record of what it installed decides. */
function isInstalled(lockFile) {
  const wanted = readFileSync(lockFile);
  if (existsSync(stampPath) && readFileSync(stampPath, "utf8") === digest(wanted)) return true;
  const record = join(modules, ".package-lock.json");
  if (!existsSync(record) || !(isCurrentNodeNewEnough || existsSync(packagedNode()))) return false;
  if (!holdsAll(parsePackages(readFileSync(record)), parsePackages(wanted))) return false;
  writeStamp(lockFile);
  return true;
}

/** Packages of other platforms, and those that somebody left out on purpose as development's, may be missing. */
function holdsAll(installed, wanted) {
  const hasDevelopment = existsSync(join(modules, "vitest"));
  return Object.entries(wanted).every(([path, { version, optional, devOptional, dev }]) => {
    if (path === "" || installed[path]?.version === version) return true;
    return installed[path] === undefined && (optional || devOptional || (dev && !hasDevelopment));
  });
}

function parsePackages(json) {
  return JSON.parse(json.toString("utf8")).packages ?? {};
}

function writeStamp(lockFile) {
  try {
    writeFileSync(stampPath, digest(readFileSync(lockFile)));
  } catch {
    // A read-only installation does without: the next start compares again.
  }
}

function digest(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

async function runNpm(args) {
  const npmCli = process.env.npm_execpath ?? "";
  if (npmCli.endsWith("npm-cli.js")) await run(process.execPath, [npmCli, ...args], root);
  else await run("npm", args, root);
}

async function run(command, args, cwd) {
  const isShellNeeded = process.platform === "win32" && command === "npm";
  const child = spawn(command, args, { cwd, stdio: ["ignore", 2, 2], shell: isShellNeeded });
  const stop = passSignals(child);
  const { code, error } = await ended(child);
  stop();
  if (code === 0) return;
  const why = error?.message ?? `exit code ${code}`;
  throw new LaunchError(`\`${[command, ...args].join(" ")}\` failed in ${cwd}: ${why}`);
}

/**
 * Runs `work` while holding a lock file, which names this process. A lock whose process is gone is taken over, by one
 * process at a time: whoever takes over holds a second lock meanwhile and looks again under it.
 */
async function withLock(path, work) {
  let hasSaid = false;
  while (!tryCreate(path)) {
    if (!isHeld(path) && tryCreate(`${path}-steal`, STEAL_LOCK_AGE_MS_MAX)) {
      if (!isHeld(path)) rmSync(path, { force: true });
      rmSync(`${path}-steal`, { force: true });
      continue;
    }
    if (!hasSaid) process.stderr.write("capmesh: another start is installing dependencies; waiting for it\n");
    hasSaid = true;
    await new Promise((wake) => setTimeout(wake, LOCK_POLL_MS));
  }
  try {
    await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryCreate(path, ageMsMax = Infinity) {
  try {
    const file = openSync(path, "wx");
    writeFileSync(file, String(process.pid));
    closeSync(file);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") {
      throw new LaunchError(`dependencies are missing and ${root} cannot be written to: ${error.message}`);
    }
    const ageMs = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (ageMs > ageMsMax) rmSync(path, { force: true });
    return false;
  }
}

function isHeld(path) {
  let holder;
  try {
    holder = Number(readFileSync(path, "utf8"));
    // Between its creation and its first bytes a lock is empty, and held.
    if (holder === 0) return true;
    process.kill(holder, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** The binary that the npm package `node` has fetched; it may be missing. */
function packagedNode() {
  let folder = join(modules, "node");
  try {
    folder = join(createRequire(import.meta.url).resolve("node/package.json"), "..");
  } catch {
    // Not installed: the path says where it would be.
  }
  return join(folder, "bin", process.platform === "win32" ? "node.exe" : "node");
}

function findNode() {
  if (isCurrentNodeNewEnough) return process.execPath;
  const packaged = packagedNode();
  if (existsSync(packaged)) return packaged;
  throw new LaunchError(
    `this is Node ${process.versions.node}, ${NODE_MAJOR_MIN} or newer is needed, and the one of the npm package ` +
      `"node" is missing (${packaged}): run \`npm ci\`, or install Node ${NODE_MAJOR_MIN}`,
  );
}

/** Runs a file with a Node that is new enough, and resolves with its exit code. Call `ensureInstalled` before. */
export async function runFile(file, args) {
  const node = findNode();
  const env = { ...process.env, CAPMESH_LIFELINE: "3", CAPMESH_LAUNCHED: "1" };
  env.PATH = [join(modules, ".bin"), env.PATH].filter(Boolean).join(delimiter);
  const argv = ["--import", pathToFileURL(lifelinePath).href, file, ...args];
  const child = spawn(node, argv, { stdio: ["inherit", "inherit", "inherit", "pipe"], env });
  // The pipe is never written to: its end tells the child that this process is gone.
  child.stdio[3]?.on("error", () => {});
  const stop = passSignals(child);
  const { code, error } = await ended(child);
  stop();
  if (error !== undefined) throw new LaunchError(`${node} cannot be started: ${error.message}`);
  return code;
}

function ended(child) {
  return new Promise((settle) => {
    child.once("error", (error) => settle({ code: 1, error }));
    child.once("exit", (code, signal) => settle({ code: code ?? 128 + (constants.signals[signal] ?? 0) }));
  });
}

/**
 * Passes signals on. On a terminal Ctrl-C goes to every process in the foreground, the child included, and a second
 * SIGINT would mean "at once": there it is not passed on.
 */
function passSignals(child) {
  const isOnTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  const listeners = ["SIGINT", "SIGTERM", "SIGHUP"].map((signal) => {
    const listener = () => {
      if (signal !== "SIGINT" || !isOnTerminal) child.kill(signal);
    };
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}

/**
 * npm runs scripts in a shell, and some shells die of a signal without passing it on. So what npm started ends, as on
 * SIGTERM, when its parent is gone: otherwise nobody would know of it.
 */
function endWithNpm() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGTERM");
  }, PARENT_POLL_MS);
  timer.unref();
}

/** The file behind a program's name: as given if it is a path, else what node_modules/.bin links to. */
function programFile(name) {
  if (/[\\/]/.test(name)) return resolve(name);
  const link = join(modules, ".bin", name);
  if (!existsSync(link)) throw new LaunchError(`there is no program "${name}" in node_modules/.bin`);
  return realpathSync(link);
}

/** Runs `main` and ends the process with its exit code, or says why not. */
export async function runMain(main) {
  endWithNpm();
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    process.stderr.write(`capmesh: ${error.message}\n`);
    process.exitCode = 1;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    const [program, ...args] = process.argv.slice(2);
    if (program === undefined) throw new LaunchError("usage: node src/cli/launch.mjs <program or file> [args…]");
    await ensureInstalled();
    return runFile(programFile(program), args);
  });
}
