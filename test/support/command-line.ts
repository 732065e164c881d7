/** Runs the command line as a process, with settings of its own: nothing of the user's or the caller's reaches it. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Ends a command with the test's process, however that ends. */
const LIFELINE = new URL("../../src/cli/lifeline.mjs", import.meta.url).href;
/** Compiled code, kept from one process to the next: it halves what their starts cost. */
export const COMPILE_CACHE = fileURLToPath(new URL("../../node_modules/.cache/capmesh-tests", import.meta.url));
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** A home folder, and the commands that are run in it. Disposing it kills what still runs and removes the folder. */
export class CommandLine implements AsyncDisposable {
  readonly home: string;
  readonly #running = new Set<RunningCommand>();

  private constructor(home: string) {
    this.home = home;
  }

  static async create(): Promise<CommandLine> {
    return new CommandLine(await mkdtemp(join(tmpdir(), "capmesh-cli-")));
  }

  start(args: readonly string[], { env = {}, stdin }: CommandOptions = {}): RunningCommand {
    const child = spawn(process.execPath, ["--import", LIFELINE, MAIN, ...args], {
      cwd: this.home,
      env: {
        PATH: process.env["PATH"],
        HOME: this.home,
        XDG_RUNTIME_DIR: join(this.home, "run"),
        NODE_COMPILE_CACHE: COMPILE_CACHE,
        CAPMESH_LIFELINE: "3",
        ...env,
      },
      stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe", "pipe"],
    });
    // Never written to; the command waits for its end.
    child.stdio[3]?.on("error", () => {});
    child.stdin?.end(stdin);
    const running = new RunningCommand(child);
    this.#running.add(running);
    return running;
  }

  run(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return this.start(args, options).result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) running.kill("SIGKILL");
    await Promise.all([...this.#running].map((running) => running.result));
    await rm(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class RunningCommand {
  readonly result: Promise<CommandResult>;
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  #stdout = "";
  #stderr = "";
  #hasEnded = false;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
      this.#tell();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      this.#tell();
    });
    this.result = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => {
        this.#hasEnded = true;
        this.#tell();
        resolve({ code, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The reader goes away. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** What `pattern` finds on stdout, or else on stderr, as soon as it is there. Rejects when the process ends without it. */
  find(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr);
        if (match === null && !this.#hasEnded) return;
        this.#watchers.delete(look);
        if (match !== null) resolve(match);
        else reject(new Error(`ended without ${String(pattern)}:\n${this.#stdout}\n${this.#stderr}`));
      };
      this.#watchers.add(look);
      look();
    });
  }

  #tell(): void {
    for (const watcher of this.#watchers) watcher();
  }
}
