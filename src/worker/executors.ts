/**
 * What runs guests on this worker, by the entry that it is for: the registry of WebAssembly's executor and of whatever else
 * the worker brings. Gateways are told its names, and give the worker runs of these only.
 */
import { assert, overloaded } from "../base/errors.ts";
import { WORKER_KINDS_MAX } from "../base/limits.ts";
import { type Entry, WASM_ENTRIES } from "../model/entry.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import { entryName } from "../model/run-spec.ts";
import type { Executor, GuestIo, GuestSpec } from "./guest.ts";

export interface Registration {
  readonly entries: readonly Entry[];
  /** Taken over. */
  readonly executor: Executor;
}

export class Executors implements Executor {
  readonly #byEntry = new Map<Entry, Executor>();

  /** At least one entry, at most WORKER_KINDS_MAX, each once. */
  constructor(registrations: readonly Registration[]) {
    for (const { entries, executor } of registrations) {
      for (const entry of entries) {
        assert(!this.#byEntry.has(entry), `${entry} has one executor`);
        this.#byEntry.set(entry, executor);
      }
    }
    assert(this.#byEntry.size > 0 && this.#byEntry.size <= WORKER_KINDS_MAX, "a worker has something to run");
  }

  /** In the order in which they were registered. */
  get entries(): readonly Entry[] {
    return [...this.#byEntry.keys()];
  }

  /** As the executor of its entry; one that is not here is another worker's, and rejects with `overloaded`. */
  async run(spec: GuestSpec, io: GuestIo, options: { signal: AbortSignal }): Promise<AttemptEnd> {
    const name = entryName(spec.entry);
    const executor = this.#byEntry.get(name);
    if (executor === undefined) throw overloaded(`this worker does not run entry=${name}`, { code: "no-such-entry" });
    return executor.run(spec, io, options);
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(new Set(this.#byEntry.values()), (executor) => executor.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Those of a worker that runs WebAssembly and nothing else. */
export function wasmExecutors(executor: Executor): Executors {
  return new Executors([{ entries: WASM_ENTRIES, executor }]);
}
