/**
 * The demo's gateway and workers: real processes of this program, in a temporary folder of their own. However the demo
 * ends, they end with it: `close` drains them and removes the folder, and a lifeline ends them when the demo is killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { failed } from "../base/errors.ts";

const readyLineSchema = z.object({
  event: z.literal("ready"),
  peerId: z.string(),
  http: z.string().optional(),
});

export type DemoReady = z.infer<typeof readyLineSchema>;

export interface DemoProcess {
  readonly name: string;
  readonly ready: DemoReady;
}

/** How long a drained process may take to end before it is killed. */
const DRAIN_MS_MAX = 10_000;
const STDERR_LINES_KEPT = 20;

const lifelineFile = new URL("./lifeline.mjs", import.meta.url).href;
// A .ts in the clone, and a .js in the published package, as this file is.
const mainFile = fileURLToPath(new URL(`./main${extname(import.meta.url)}`, import.meta.url));

export class DemoProcesses implements AsyncDisposable {
  readonly #folder: string;
  readonly #namespace: string;
  readonly #children: ChildProcess[] = [];
  #closing: Promise<void> | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#namespace = `demo-${process.pid}`;
  }

  static async create(): Promise<DemoProcesses> {
    return new DemoProcesses(await mkdtemp(join(tmpdir(), "capmesh-demo-")));
  }

  startGateway(): Promise<DemoProcess> {
    return this.#start("gateway", ["--gateway", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"]);
  }

  startWorker(name: string, gatewayPeerId: string): Promise<DemoProcess> {
    return this.#start(name, ["--dial", gatewayPeerId, "--slots", "1", "--label", `name=${name}`]);
  }

  /** Drains all, waits for their end, and leaves no file behind. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #start(name: string, args: readonly string[]): Promise<DemoProcess> {
    if (this.#closing !== undefined) throw failed("the demo is ending");
    const shared = [
      "--ns",
      this.#namespace,
      "--no-mdns",
      "--data",
      join(this.#folder, name),
      "--log",
      "warn",
      "--json",
    ];
    const child = spawn(process.execPath, ["--import", lifelineFile, mainFile, ...args, ...shared], {
      cwd: this.#folder,
      // A group of its own: Ctrl-C reaches the demo, and the demo ends its processes in order.
      detached: true,
      // A home of its own: settings of the user are not the demo's.
      env: {
        PATH: process.env["PATH"],
        HOME: this.#folder,
        XDG_RUNTIME_DIR: this.#folder,
        TMPDIR: process.env["TMPDIR"],
        CAPMESH_LIFELINE: "3",
      },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.#children.push(child);
    // Never written to; the child only waits for its end.
    child.stdio[3]?.on("error", () => {});
    return { name, ready: await readyOf(name, child) };
  }

  async #close(): Promise<void> {
    // Workers first: the gateway sees them leave in order.
    for (const child of this.#children.toReversed()) await stop(child);
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The process's ready line. Rejects with what it said when it ends before. */
async function readyOf(name: string, child: ChildProcess): Promise<DemoReady> {
  const said: string[] = [];
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", (line) => {
      said.push(line);
      if (said.length > STDERR_LINES_KEPT) said.shift();
    });
  }
  if (child.stdout === null) throw failed(`the ${name} has no stdout`);
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise<DemoReady>((resolve, reject) => {
    lines.on("line", (line) => {
      const parsed = parseReady(line);
      if (parsed !== undefined) resolve(parsed);
    });
    child.once("error", (cause) => reject(failed(`the ${name} cannot be started`, { cause })));
    child.once("close", (code) => {
      const ending = `the ${name} ended before it was ready (exit code ${code ?? "none"})`;
      reject(failed([ending, ...said].join("\n")));
    });
  });
  return ready;
}

function parseReady(line: string): DemoReady | undefined {
  try {
    return readyLineSchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const kill = setTimeout(() => child.kill("SIGKILL"), DRAIN_MS_MAX);
  await ended;
  clearTimeout(kill);
}
