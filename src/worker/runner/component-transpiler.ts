/**
 * Components to parts a runner can load, each once: transpiled in a process of its own, kept as a file by the
 * component's digest. The files are a cache: one that does not read well is made again. There are never more processes
 * than slots, and one that nobody waits for any more is killed.
 */
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import type { Clock } from "../../base/clock.ts";
import { failed, overloaded } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import {
  TRANSPILE_MS_MAX,
  TRANSPILED_BYTES_MAX,
  TRANSPILED_CACHE_BYTES_MAX,
  TRANSPILED_GLUE_BYTES_MAX,
  TRANSPILER_CPU_SECONDS_MAX,
  TRANSPILER_DATA_BYTES_MAX,
  TRANSPILER_DESCRIPTORS_MAX,
  TRANSPILER_HEAP_MIB_MAX,
  TRANSPILER_STDERR_LENGTH_MAX,
} from "../../base/limits.ts";
import { SharedWork } from "../../base/shared-work.ts";
import { mib } from "../../base/wording.ts";
import type { Cell, CellPlan } from "../../sandbox/cell.ts";
import { parsePipe } from "../../sandbox/child-pipes.ts";
import type { Sandbox } from "../../sandbox/sandbox.ts";
import { decodeComponentParts, tooMuchGlue } from "./component-parts.ts";
import type { ComponentParts } from "./component-parts.ts";
import { SlotQueue } from "./slot-queue.ts";

/** Threads of a process that are busy at once, at the most: its time by the clock is no less than this part of its own. */
const THREADS_BUSY = 2;
/** Exit code of the transpiling process for a component that jco refuses. */
const REFUSED = 2;
const PACKAGES = `${sep}node_modules${sep}`;

export type TranspileResult =
  | { readonly ok: true; readonly parts: ComponentParts }
  /** jco refuses the component, or makes more of it than is taken: that would be the same the next time. */
  | { readonly ok: false; readonly reason: string };

export interface ComponentTranspilerInit {
  readonly sandbox: Sandbox;
  readonly scratchFolder: string;
  readonly clock: Clock;
  /** Processes at once. */
  readonly slots: number;
  /** Processor time of one; default `TRANSPILER_CPU_SECONDS_MAX`. */
  readonly cpuSecondsMax?: number | undefined;
  /** Bytes of transpiled components kept on disk; default `TRANSPILED_CACHE_BYTES_MAX`. */
  readonly cacheBytesMax?: number | undefined;
}

export class ComponentTranspiler {
  readonly #init: ComponentTranspilerInit;
  readonly #bytesMax: number;
  readonly #underWay = new Map<Digest, SharedWork<TranspileResult>>();
  readonly #slots: SlotQueue;
  readonly #children = new Set<() => void>();
  readonly #place = locateTranspiler();
  #cell: Promise<Cell> | undefined;
  #isClosed = false;

  constructor(init: ComponentTranspilerInit) {
    this.#init = init;
    this.#slots = new SlotQueue(init.slots);
    this.#bytesMax = init.cacheBytesMax ?? TRANSPILED_CACHE_BYTES_MAX;
  }

  /** What its processes are, to a sandbox. */
  get cell(): CellPlan {
    return { entry: "worker/runner/child/transpile", reads: [this.#place.packages] };
  }

  /**
   * The component's parts, from the cache or made now. Callers that want the same at once share the work, which ends with
   * the last of them. Rejects with the signal's reason; when the process took too long or ended in a way that says nothing
   * of the component: it may do better the next time; and as `overloaded` once this is closed.
   */
  transpile(
    digest: Digest,
    component: Uint8Array,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<TranspileResult> {
    const known = this.#underWay.get(digest);
    if (known !== undefined && !known.isAbandoned) return known.join(signal);
    const work = new SharedWork((wanted) => this.#find(digest, component, wanted));
    this.#underWay.set(digest, work);
    const forget = (): void => {
      if (this.#underWay.get(digest) === work) this.#underWay.delete(digest);
    };
    work.result.then(forget, forget);
    return work.join(signal);
  }

  /** Ends the processes that are transpiling, and starts no other. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#slots.close();
    for (const kill of this.#children) kill();
  }

  async #find(digest: Digest, component: Uint8Array, signal: AbortSignal): Promise<TranspileResult> {
    const { transpiler, version } = this.#place;
    const folder = join(this.#init.scratchFolder, "components");
    const path = join(folder, `${digest}-${version}`);
    const cached = await readFile(path).then(
      (file) => decodeComponentParts(new Uint8Array(file.buffer, file.byteOffset, file.byteLength)),
      () => undefined,
    );
    if (cached !== undefined && refuseParts(cached) === undefined) {
      await this.#touch(path);
      return { ok: true, parts: cached };
    }
    const made = await this.#make(transpiler, component, signal);
    if (typeof made === "string") return { ok: false, reason: made };
    const parts = decodeComponentParts(made);
    if (parts === undefined) throw failed("the transpiler's answer cannot be read", { code: "transpiler" });
    const refusal = refuseParts(parts);
    if (refusal !== undefined) return { ok: false, reason: refusal };
    // Without a place in the cache it is made again the next time.
    await this.#keep(folder, path, made).catch(() => {});
    return { ok: true, parts };
  }

  /** In a slot. Answers the encoded parts, or why the component is refused. */
  async #make(transpiler: string, component: Uint8Array, signal: AbortSignal): Promise<Uint8Array | string> {
    const isGranted = await this.#slots.acquire(signal);
    try {
      const cell = await this.#openCell();
      signal.throwIfAborted();
      if (this.#isClosed || !isGranted) throw overloaded("the transpiler of components was closed", { code: "closed" });
      return await this.#spawn(cell, transpiler, component, signal);
    } finally {
      if (isGranted) this.#slots.release();
    }
  }

  #openCell(): Promise<Cell> {
    this.#cell ??= this.#init.sandbox.openCell(this.cell).catch((error: unknown) => {
      this.#cell = undefined;
      throw error;
    });
    return this.#cell;
  }

  async #keep(folder: string, path: string, made: Uint8Array): Promise<void> {
    await mkdir(folder, { recursive: true });
    const draft = `${path}.${process.pid}`;
    try {
      await writeFile(draft, made);
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
    await this.#prune(folder);
  }

  /** A file's time says when it was last used. */
  async #touch(path: string): Promise<void> {
    const now = new Date(this.#init.clock.now());
    await utimes(path, now, now).catch(() => {});
  }

  /** Removes the least recently used files until the rest is below the limit. What is in use has been read already. */
  async #prune(folder: string): Promise<void> {
    const files: { path: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined) files.push({ path, bytes: found.size, usedMs: found.mtimeMs });
    }
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    for (const file of files.toSorted((a, b) => a.usedMs - b.usedMs)) {
      if (bytes <= this.#bytesMax) return;
      await rm(file.path, { force: true });
      bytes -= file.bytes;
    }
  }

  async #spawn(
    cell: Cell,
    transpiler: string,
    component: Uint8Array,
    signal: AbortSignal,
  ): Promise<Uint8Array | string> {
    const { clock, cpuSecondsMax = TRANSPILER_CPU_SECONDS_MAX } = this.#init;
    const startedMs = clock.monotonicMs();
    const child = cell.spawn({
      flags: [`--max-old-space-size=${TRANSPILER_HEAP_MIB_MAX}`, "--no-warnings"],
      args: [pathToFileURL(transpiler).href],
      stdio: ["pipe", "ignore", "pipe", "pipe"],
      limits: {
        dataBytes: TRANSPILER_DATA_BYTES_MAX,
        descriptors: TRANSPILER_DESCRIPTORS_MAX,
        cpuSeconds: cpuSecondsMax,
      },
    });
    const kill = (): void => void child.kill("SIGKILL");
    this.#children.add(kill);
    signal.addEventListener("abort", kill, { once: true });
    let hasTimedOut = false;
    using _timer = clock.setTimer(TRANSPILE_MS_MAX, () => {
      hasTimedOut = true;
      kill();
    });
    try {
      const { end, said, made } = await exchange(child, component, kill);
      if (made === undefined) return `it becomes more than ${mib(TRANSPILED_BYTES_MAX)} MiB when transpiled`;
      if (end === 0) return made;
      if (end === REFUSED) return `it cannot be transpiled: ${said}`;
      signal.throwIfAborted();
      const hasUsedUp = clock.monotonicMs() - startedMs >= (cpuSecondsMax * 1000) / THREADS_BUSY;
      // A process that is killed for it ends by a signal, or as the programs around it say so.
      if (hasUsedUp && !hasTimedOut && !this.#isClosed) {
        return `it cannot be transpiled within ${cpuSecondsMax} s of processor time: give it fewer and simpler functions`;
      }
      const how = hasTimedOut ? `took more than ${TRANSPILE_MS_MAX / 1000} s` : `ended by ${end}: ${said}`;
      throw failed(`the transpiler ${how}`, { code: "transpiler" });
    } finally {
      signal.removeEventListener("abort", kill);
      this.#children.delete(kill);
    }
  }
}

interface Exchange {
  /** Exit code, or the name of a signal. */
  readonly end: number | string;
  /** What it has said on stderr, its beginning. */
  readonly said: string;
  /** The encoded parts; undefined if they were too many, and it was killed for that. */
  readonly made: Uint8Array | undefined;
}

/** Gives the process its component and hears it out. Rejects when it did not start. */
async function exchange(child: ChildProcess, component: Uint8Array, kill: () => void): Promise<Exchange> {
  const closed = new Promise<number | string>((resolve, reject) => {
    child.once("close", (exitCode, signal) => resolve(exitCode ?? signal ?? "nothing known"));
    child.once("error", (error) => reject(failed("the transpiler could not be started", { cause: error })));
  });
  parsePipe(child, 0).end(component);
  let said = "";
  const stderr = parsePipe(child, 2).setEncoding("utf8");
  stderr.on("data", (text: string) => {
    said = (said + text).slice(0, TRANSPILER_STDERR_LENGTH_MAX);
  });
  let chunks: Uint8Array[] = [];
  let length = 0;
  parsePipe(child, 3).on("data", (chunk: Uint8Array) => {
    length += chunk.length;
    if (length <= TRANSPILED_BYTES_MAX) chunks.push(chunk);
    else {
      chunks = [];
      kill();
    }
  });
  const end = await closed;
  const made = length > TRANSPILED_BYTES_MAX ? undefined : new Uint8Array(Buffer.concat(chunks));
  return { end, said: said.trim(), made };
}

/** Why parts are not taken: its own process has refused them already, unless a component got hold of that. */
function refuseParts({ glue }: ComponentParts): string | undefined {
  return glue.length > TRANSPILED_GLUE_BYTES_MAX ? tooMuchGlue(glue.length) : undefined;
}

interface TranspilerPlace {
  readonly transpiler: string;
  /** The folder of packages that it may read: its own scope's. */
  readonly packages: string;
  /** Changes when other parts could come out. */
  readonly version: string;
}

function locateTranspiler(): TranspilerPlace {
  const transpiler = createRequire(import.meta.url).resolve("@bytecodealliance/jco/component");
  const packages = transpiler.slice(0, transpiler.lastIndexOf(PACKAGES) + PACKAGES.length) + `@bytecodealliance${sep}`;
  const found: unknown = createRequire(import.meta.url)(join(packages, "jco", "package.json"));
  const text = typeof found === "object" && found !== null && "version" in found ? String(found.version) : "";
  return { transpiler, packages, version: createHash("sha256").update(text).digest("hex").slice(0, 12) };
}
