/**
 * Real Capmesh processes for end-to-end tests: each cluster has a folder, a home and a namespace of its own, talks over
 * loopback with ports that the system picks, and leaves nothing behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { CapmeshClient } from "../../src/client/client.ts";
import { COMPILE_CACHE } from "./command-line.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The line that a process prints when it is ready. */
export interface Ready {
  readonly role: string;
  readonly peerId: string;
  readonly http?: string;
  readonly dial?: string;
  readonly rpc?: string;
  readonly tokenFile?: string;
  readonly addrs: readonly string[];
}

export interface StartOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Put before the command: `ip netns exec …`. */
  readonly wrapper?: readonly string[];
  /** Where it is started. Default: where the tests are. */
  readonly cwd?: string;
}

export class CapmeshProcess {
  readonly child: ChildProcess;
  /** Rejects when the process ends before it is ready. */
  readonly ready: Promise<Ready>;
  readonly exited: Promise<number | NodeJS.Signals>;
  #stderr = "";
  readonly #stderrListeners = new Set<() => void>();

  constructor(child: ChildProcess) {
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => resolve(code ?? signal ?? "SIGKILL"));
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      for (const listener of this.#stderrListeners) listener();
    });
    const { promise, resolve, reject } = Promise.withResolvers<Ready>();
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const ready = parseReady(line);
        if (ready !== undefined) resolve(ready);
      });
    }
    void this.exited.then((code) =>
      reject(new Error(`the process ended (${code}) before it was ready:\n${this.#stderr}`)),
    );
    promise.catch(() => {});
    this.ready = promise;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Resolves when stderr has a match. Rejects when the process ends without one. */
  async says(pattern: RegExp): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const check = () => {
      if (pattern.test(this.#stderr)) resolve();
    };
    this.#stderrListeners.add(check);
    check();
    void this.exited.then((code) =>
      reject(new Error(`the process ended (${code}) without saying ${pattern}:\n${this.#stderr}`)),
    );
    try {
      await promise;
    } finally {
      this.#stderrListeners.delete(check);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** SIGTERM, and the exit code. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.kill("SIGTERM");
    return this.exited;
  }
}

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly namespace: string;
  readonly #processes: CapmeshProcess[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.namespace = folder.slice(folder.lastIndexOf("-") + 1);
  }

  static async create(): Promise<Cluster> {
    return new Cluster(await mkdtemp(join(tmpdir(), "capmesh-e2e-")));
  }

  start(options: StartOptions): CapmeshProcess {
    const args = [...options.args, "--ns", this.namespace];
    const started = new CapmeshProcess(this.#spawn({ ...options, args }));
    this.#processes.push(started);
    return started;
  }

  /** Runs a command to its end. */
  async run(
    options: StartOptions,
  ): Promise<{ readonly code: number | NodeJS.Signals; readonly stdout: string; readonly stderr: string }> {
    const child = this.#spawn(options);
    let stdout = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    const started = new CapmeshProcess(child);
    this.#processes.push(started);
    const code = await started.exited;
    return { code, stdout, stderr: started.stderr };
  }

  #spawn({ args, env = {}, wrapper = [], cwd }: StartOptions): ChildProcess {
    const command = [...wrapper, process.execPath, MAIN, ...args, "--json"];
    return spawn(command[0] ?? "", command.slice(1), {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"],
        HOME: this.folder,
        XDG_RUNTIME_DIR: join(this.folder, "run"),
        NO_COLOR: "1",
        NODE_COMPILE_CACHE: COMPILE_CACHE,
        ...env,
      },
    });
  }

  /** A gateway on loopback, found through its run file. */
  async gateway(
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ process: CapmeshProcess; ready: Ready; client: CapmeshClient }> {
    const listen = args.includes("--listen") ? [] : ["--listen", "/ip4/127.0.0.1/tcp/0"];
    const http = args.includes("--http") ? [] : ["--http", "127.0.0.1:0"];
    const started = this.start({ args: ["--gateway", "--no-mdns", ...http, ...listen, ...args], env });
    const ready = await started.ready;
    return { process: started, ready, client: new CapmeshClient({ url: ready.http ?? "" }) };
  }

  /** A worker that is given the gateway's bare peer id. */
  worker(peerId: string, args: readonly string[] = []): CapmeshProcess {
    return this.start({ args: ["--dial", peerId, "--no-mdns", "--slots", "2", ...args] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const started of this.#processes) started.kill("SIGKILL");
    await Promise.all(this.#processes.map((started) => started.exited));
    await rm(this.folder, { recursive: true, force: true });
  }
}

function parseReady(line: string): Ready | undefined {
  if (!line.startsWith("{")) return undefined;
  const parsed: Ready & { event?: string } = JSON.parse(line);
  return parsed.event === "ready" ? parsed : undefined;
}

/** How long `eventually` asks before it says why there is no good answer. */
const EVENTUALLY_MS = 60_000;

/** Asks again until there is an answer. Rejects, with what was wrong last, when there is none for long. */
export async function eventually<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const giveUpAt = performance.now() + EVENTUALLY_MS;
  let error: unknown = new Error("the condition never held");
  while (performance.now() < giveUpAt) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (thrown) {
      error = thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw error;
}

/** The built guests. */
export function guestPath(name: "hash" | "hello" | "component"): string {
  return fileURLToPath(new URL(`../../wasm-tasks/${name}/${name}.wasm`, import.meta.url));
}
