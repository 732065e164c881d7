/** A pool of runners for tests, with guests given as bytes, that leaves no process and no file behind. */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDigest, type Digest } from "../../../src/base/ids.ts";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import type { Inspector } from "../../../src/inspect/inspector.ts";
import type { AttemptEnd } from "../../../src/model/outcome.ts";
import type { OutputStream } from "../../../src/model/output.ts";
import type { CellSpawn } from "../../../src/sandbox/cell.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import type { GuestFile, GuestIo, GuestSpec } from "../../../src/worker/guest.ts";
import { RunnerPool } from "../../../src/worker/runner/runner-pool.ts";
import type { RunnerPoolInit } from "../../../src/worker/runner/runner-pool.ts";
import { inlineInspector } from "../../support/inline-inspector.ts";

export interface RunOptions extends Partial<Omit<GuestSpec, "modulePath" | "digest" | "entry">> {
  readonly entry?: GuestSpec["entry"];
  /** What the guest finds in its `/`, unless `files` says so. */
  readonly given?: Readonly<Record<string, Uint8Array | string>>;
  /** Takes the files that are kept; default: they are in the end. */
  readonly onKeep?: NonNullable<GuestIo["keep"]>;
  readonly signal?: AbortSignal;
  /** Called with each piece of output, in order; the guest waits for what it returns. */
  readonly onOutput?: (stream: OutputStream, bytes: Uint8Array) => Promise<void> | void;
}

export interface Ended extends AttemptEnd {
  readonly stdout: string;
  readonly stderr: string;
  readonly kept: ReadonlyMap<string, Uint8Array>;
}

const MIB = 1_048_576;

export interface PoolHarnessInit extends Partial<
  Pick<RunnerPoolInit, "slots" | "spares" | "baselineSpares" | "runsPerRunner" | "clock">
> {
  /** Modules are inspected in a process, as they are for users; default: in this one. */
  readonly inspectsApart?: boolean;
  /** Who reads modules instead. */
  readonly inspector?: Pick<Inspector, "inspectBytes" | "version">;
  /** What is made of each start of a process. */
  readonly alterSpawn?: (spawn: CellSpawn) => CellSpawn;
}

export class PoolHarness implements AsyncDisposable {
  readonly pool: RunnerPool;
  readonly #folder: string;
  readonly #files = new Map<Digest, Promise<string>>();

  private constructor(pool: RunnerPool, folder: string) {
    this.pool = pool;
    this.#folder = folder;
  }

  static async open(init: PoolHarnessInit = {}): Promise<PoolHarness> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-runner-"));
    const scratchFolder = join(folder, "scratch");
    const pool = await RunnerPool.open({
      slots: init.slots ?? 1,
      spares: init.spares ?? 0,
      baselineSpares: init.baselineSpares ?? 0,
      runsPerRunner: init.runsPerRunner,
      inspector: init.inspectsApart === true ? undefined : (init.inspector ?? inlineInspector),
      sandbox: init.alterSpawn && (await openSandbox(scratchFolder, init.alterSpawn)),
      scratchFolder,
      clock: init.clock ?? systemClock,
      log: silentLog,
    });
    return new PoolHarness(pool, folder);
  }

  /** Runs a module to its end; what it printed and left comes with the end. */
  async run(module: Uint8Array, options: RunOptions = {}): Promise<Ended> {
    const { signal, onOutput, onKeep, ...rest } = options;
    const spec = await this.spec(module, rest);
    const printed = { stdout: "", stderr: "" };
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    const kept = new Map<string, Uint8Array>();
    const end = await this.pool.run(
      spec,
      {
        async write(stream, bytes) {
          printed[stream] += decoders[stream].decode(bytes, { stream: true });
          await onOutput?.(stream, bytes);
        },
        keep:
          onKeep ?? (async ({ path, content }) => void kept.set(path, Buffer.concat(await Array.fromAsync(content)))),
      },
      { signal: signal ?? new AbortController().signal },
    );
    return { ...end, ...printed, kept };
  }

  /** What `run` gives the pool, to be run as often as one likes. */
  async spec(
    module: Uint8Array,
    { entry, given = {}, ...rest }: Omit<RunOptions, "signal" | "onOutput" | "onKeep"> = {},
  ): Promise<GuestSpec> {
    const digest = digestOf(module);
    return {
      modulePath: await this.#write(digest, module),
      digest,
      entry: entry ?? { kind: "command" },
      args: [],
      env: {},
      stdin: new Uint8Array(0),
      timeoutMs: 30_000,
      cpuMs: 30_000,
      memoryBytes: 64 * MIB,
      outputBytesMax: MIB,
      outputLimit: "truncate",
      submitter: "local",
      files: await this.#give(given),
      outputs: [],
      ...rest,
    };
  }

  async #give(given: NonNullable<RunOptions["given"]>): Promise<GuestFile[]> {
    return Promise.all(
      Object.entries(given).map(async ([path, content]) => {
        const bytes = Buffer.from(content);
        const digest = digestOf(bytes);
        return { path, bytes: bytes.length, digest, contentPath: await this.#write(digest, bytes) };
      }),
    );
  }

  /** Each module is written once: a file that is being written again is cut short for others. */
  #write(digest: Digest, module: Uint8Array): Promise<string> {
    let written = this.#files.get(digest);
    if (written === undefined) {
      const path = join(this.#folder, digest);
      written = writeFile(path, module).then(() => path);
      this.#files.set(digest, written);
    }
    return written;
  }

  /** Process ids of all runners that are alive. */
  pids(): number[] {
    return this.pool
      .stats()
      .runners.map(({ pid }) => pid)
      .filter((pid) => pid !== undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export function digestOf(bytes: Uint8Array): Digest {
  const digest = parseDigest(createHash("sha256").update(bytes).digest("hex"));
  if (digest === undefined) throw new Error("a SHA-256 that is none");
  return digest;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function openSandbox(scratchFolder: string, alter: (spawn: CellSpawn) => CellSpawn): Promise<Sandbox> {
  const sandbox = await Sandbox.open({ scratchFolder, log: silentLog });
  const openCell = sandbox.openCell.bind(sandbox);
  sandbox.openCell = async (plan) => {
    const cell = await openCell(plan);
    const spawnIn = cell.spawn.bind(cell);
    cell.spawn = (spawn) => spawnIn(alter(spawn));
    return cell;
  };
  return sandbox;
}
