/** `Worker`: the authority to use one slot of a worker, once. */
import { Worker$Client } from "../generated/worker.ts";
import type { RunSpec } from "../model/run-spec.ts";
import { type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { FilesClient } from "./files.ts";
import { ModuleClient } from "./module.ts";
import { OutputClient } from "./output.ts";
import { RunClient, type RunTarget, serveRun } from "./run.ts";
import { invalidMessage } from "./scalars.ts";
import { decodeRunSpec, encodeRunSpec } from "./worker-codec.ts";

const [RUN] = Worker$Client.methods;
/** Pointer indexes of interface fields, as `schema/worker.capnp` lays them out. */
const RUN_PARAMS_MODULE = 1;
const RUN_PARAMS_OUTPUT = 2;
const RUN_PARAMS_FILES = 3;
const RUN_RESULTS_RUN = 0;

/** Where a worker reads what it has not got. */
export interface RunSources extends Disposable {
  /** Undefined: the run has no module. */
  readonly module: ModuleClient | undefined;
  /** Undefined: the run has no files. */
  readonly files: FilesClient | undefined;
}

export interface WorkerTarget extends Partial<Disposable> {
  /** Starts the attempt. Takes its sources and `output` over, even when it throws. */
  run(spec: RunSpec, sources: RunSources, output: OutputClient): RunTarget;
}

/** Owns its capability. */
export class WorkerClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /**
   * Starts the attempt and returns at once; calls on the run are pipelined, and fail as this call fails. Borrows the
   * capabilities; `module` and `files` where the spec has one, or some.
   */
  run(spec: RunSpec, module: Capability | undefined, output: Capability, files?: Capability): RunClient {
    const answer = this.capability.call(RUN, (params) => {
      encodeRunSpec(params._initSpec(), spec);
      if (module !== undefined) setCapability(params, RUN_PARAMS_MODULE, module);
      setCapability(params, RUN_PARAMS_OUTPUT, output);
      if (files !== undefined) setCapability(params, RUN_PARAMS_FILES, files);
    });
    const run = new RunClient(answer.pipeline(RUN_RESULTS_RUN));
    const release = () => answer[Symbol.dispose]();
    answer.result().then(release, release);
    return run;
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** `target` is disposed when the gateway has dropped the capability: then it will not be called any more. */
export function serveWorker(target: WorkerTarget): Capability {
  return serve(Worker$Client, {
    run: (params, results) => {
      const spec = decodeRunSpec(params.spec);
      using taken = new DisposableStack();
      const take = (index: number): Capability | undefined => {
        const capability = getCapability(params, index);
        if (capability !== undefined) taken.use(capability);
        return capability;
      };
      const [module, output, files] = [RUN_PARAMS_MODULE, RUN_PARAMS_OUTPUT, RUN_PARAMS_FILES].map(take);
      if (output === undefined) throw invalidMessage("a run without an output");
      if (spec.module !== undefined && module === undefined)
        throw invalidMessage("a run with a module and nowhere to read it");
      if (spec.files.length > 0 && files === undefined)
        throw invalidMessage("a run with files and nowhere to read them");
      taken.move();
      using run = serveRun(target.run(spec, runSources(module, files), new OutputClient(output)));
      setCapability(results, RUN_RESULTS_RUN, run);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

function runSources(module: Capability | undefined, files: Capability | undefined): RunSources {
  return {
    module: module && new ModuleClient(module),
    files: files && new FilesClient(files),
    [Symbol.dispose]: () => {
      module?.[Symbol.dispose]();
      files?.[Symbol.dispose]();
    },
  };
}
