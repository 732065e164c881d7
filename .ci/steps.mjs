/**
 * What steps of the gate that start programs have in common: programs are run to their end or until they are ready, in a
 * folder that goes with the step, without what npm told this process about the project it belongs to.
 */
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** For one program; npm may have to fetch everything anew. */
const RUN_MS_MAX = 480_000;
const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 45_000;

/** What is wrong, for whoever reads the gate's output. Printed without a stack. */
export class StepError extends Error {}

/** npm's settings about the network stay, its word on where it runs goes. */
const KEPT_OF_NPM =
  /^npm_config_(?:registry|cache|userconfig|globalconfig|proxy|https_proxy|noproxy|cafile|strict_ssl)$/;

export function plainEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(
    ([name]) => (!name.startsWith("npm_") || KEPT_OF_NPM.test(name)) && !name.startsWith("CAPMESH_"),
  );
  return { ...Object.fromEntries(kept), ...more };
}

/** Runs a program to its end and resolves with what it said. Rejects when it fails, unless `isFailureFine`. */
export async function run(program, args, { cwd = root, env = plainEnvironment(), isFailureFine = false } = {}) {
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const timer = setTimeout(() => killGroup(child, "SIGKILL"), RUN_MS_MAX);
  const { code, stdout, stderr } = await ended(child);
  clearTimeout(timer);
  if (code !== 0 && !isFailureFine) {
    throw new StepError(`\`${[program, ...args].join(" ")}\` in ${cwd} ended with ${code}:\n${stdout}${stderr}`);
  }
  return { code, stdout, stderr };
}

/**
 * Starts a program that prints a line of JSON when it is ready. Disposing it stops it as a user would, with SIGTERM to
 * the process that was started, and rejects unless it ends with 0.
 */
export async function start(program, args, { cwd = root, env = plainEnvironment() } = {}) {
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const end = ended(child);
  const said = Promise.withResolvers();
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
    if (text.includes("\n")) said.resolve(text.slice(0, text.indexOf("\n")));
  });
  const timer = setTimeout(() => killGroup(child, "SIGKILL"), READY_MS_MAX);
  const line = await Promise.race([said.promise, end]);
  clearTimeout(timer);
  if (typeof line !== "string") {
    throw new StepError(
      `\`${[program, ...args].join(" ")}\` ended with ${line.code} before it was ready:\n${line.stderr}`,
    );
  }
  return {
    ready: JSON.parse(line),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const late = setTimeout(() => killGroup(child, "SIGKILL"), STOP_MS_MAX);
      const { code, stderr } = await end;
      clearTimeout(late);
      killGroup(child, "SIGKILL");
      // npx passes the signal on, waits, and then ends by it too.
      if (code !== 0 && code !== "SIGTERM") throw new StepError(`\`${program}\` ended with ${code}:\n${stderr}`);
      if (!/stopped\n?$/.test(stderr)) throw new StepError(`\`${program}\` did not stop by itself:\n${stderr}`);
    },
  };
}

function ended(child) {
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  return new Promise((settle) => {
    child.once("error", (error) => settle({ code: error.code, stdout, stderr: error.message }));
    child.once("close", (code, signal) => settle({ code: code ?? signal, stdout, stderr }));
  });
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // None of them is left.
  }
}

/** A folder for the step, removed with it. Others may enter it: started by root, guests' processes are nobody's. */
export function scratchFolder(name) {
  const path = mkdtempSync(join(tmpdir(), `capmesh-${name}-`));
  chmodSync(path, 0o755);
  return {
    path,
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Runs a step; it says what is wrong and ends the process with 1. */
export async function step(name, work) {
  const say = (text) => console.log(`${name}: ${text}`);
  try {
    await work(say);
  } catch (error) {
    const errors = error instanceof SuppressedError ? [error.suppressed, error.error] : [error];
    for (const each of errors) console.error(`${name}:`, each instanceof StepError ? each.message : each);
    process.exitCode = 1;
  }
}
