/**
 * A component, transpiled to JavaScript and core modules, in the one process that may run it. That JavaScript derives
 * from a stranger's bytes: it is loaded after `dropPowers` only, gets the WASI host and nothing else, and its process
 * serves no other module afterwards (the pool sees to that).
 */
import { Buffer } from "node:buffer";
import { parseCallable } from "./callable.ts";
import { allowImport } from "./drop-powers.ts";
import type { FileTree } from "./files/file-tree.ts";
import type { GuestPowers } from "./files/powers.ts";
import { callGuest } from "./core-guest.ts";
import type { RunResult } from "./core-guest.ts";
import type { GuestExit } from "./guest-exit.ts";
import { CallFailure } from "./wasi2/failure.ts";
import { openWasi2 } from "./wasi2/wasi2.ts";
import type { Wasi2Imports } from "./wasi2/wasi2.ts";

export interface ComponentRun {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  readonly tree: FileTree;
}

type Instantiate = (
  getCoreModule: (name: string) => WebAssembly.Module,
  imports: Wasi2Imports,
  instantiateCore: (module: WebAssembly.Module, imports: WebAssembly.Imports) => WebAssembly.Instance,
) => unknown;

const RUN_EXPORT = /^wasi:cli\/run(@0\.2\.\d+)?$/;

export class ComponentGuest {
  readonly #instantiate: Instantiate;
  readonly #cores: ReadonlyMap<string, WebAssembly.Module>;

  private constructor(instantiate: Instantiate, cores: ReadonlyMap<string, WebAssembly.Module>) {
    this.#instantiate = instantiate;
    this.#cores = cores;
  }

  /** Compiles the parts. Rejects where an engine refuses one. */
  static async load(
    glue: string,
    coreNames: readonly string[],
    parts: ReadonlyMap<number, Uint8Array<ArrayBuffer>>,
  ): Promise<ComponentGuest> {
    const cores = new Map<string, WebAssembly.Module>();
    coreNames.forEach((name, part) => {
      const bytes = parts.get(part);
      if (bytes !== undefined) cores.set(name, new WebAssembly.Module(bytes));
    });
    const specifier = `data:text/javascript;base64,${Buffer.from(glue).toString("base64")}`;
    allowImport(specifier);
    try {
      const loaded: unknown = await import(specifier);
      return new ComponentGuest(parseInstantiate(loaded), cores);
    } finally {
      allowImport(undefined);
    }
  }

  run(run: ComponentRun, powers: GuestPowers, exit: GuestExit): RunResult {
    const memories = new Set<WebAssembly.Memory>();
    const getCore = (name: string): WebAssembly.Module => {
      const core = this.#cores.get(name);
      if (core === undefined) throw new Error(`the component has no core module ${name}`);
      return core;
    };
    const instantiateCore = (module: WebAssembly.Module, imports: WebAssembly.Imports): WebAssembly.Instance => {
      const instance = new WebAssembly.Instance(module, imports);
      for (const exported of Object.values(instance.exports)) {
        if (exported instanceof WebAssembly.Memory) memories.add(exported);
      }
      return instance;
    };
    const ran = callGuest(exit, () => {
      try {
        const exports = this.#instantiate(getCore, openWasi2({ ...run, powers, exit }), instantiateCore);
        runExport(exports)();
        return true;
      } catch (thrown) {
        // `run` answered its error case: the component ended as having failed.
        if (isErrorResult(thrown)) return false;
        throw thrown;
      }
    });
    let memoryBytes = 0;
    for (const memory of memories) memoryBytes += memory.buffer.byteLength;
    const hasFailed = ran.end.kind === "exited" && ran.returned === false;
    return { end: hasFailed ? { kind: "exited", code: 1 } : ran.end, memoryBytes };
  }
}

function parseInstantiate(loaded: unknown): Instantiate {
  if (typeof loaded === "object" && loaded !== null && "instantiate" in loaded) {
    if (typeof loaded.instantiate === "function") return loaded.instantiate as Instantiate;
  }
  throw new Error("the component could not be transpiled to a module that can be instantiated");
}

/** Its `run`, found under whichever 0.2 version the component exports it. */
function runExport(exports: unknown): () => unknown {
  if (typeof exports === "object" && exports !== null) {
    for (const [name, exported] of Object.entries(exports)) {
      if (!RUN_EXPORT.test(name) || typeof exported !== "object" || exported === null) continue;
      const run = parseCallable(Reflect.get(exported, "run"));
      if (run !== undefined) return () => run.call(exported);
    }
  }
  throw new Error("the component does not export wasi:cli/run");
}

/** What transpiled code throws for the error case of a result: an error with the case's value as its payload. */
function isErrorResult(thrown: unknown): boolean {
  return thrown instanceof Error && !(thrown instanceof CallFailure) && Object.hasOwn(thrown, "payload");
}
