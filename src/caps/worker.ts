/** `Worker`: the authority to use one slot of a worker, once. */
import { Worker$Client } from "../generated/worker.ts";
import type { RunSpec } from "../model/run-spec.ts";
import { type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { ModuleClient } from "./module.ts";
import { OutputClient } from "./output.ts";
import { RunClient, type RunTarget, serveRun } from "./run.ts";
import { invalidMessage } from "./scalars.ts";
import { decodeRunSpec, encodeRunSpec } from "./worker-codec.ts";

const [RUN] = Worker$Client.methods;
/** Pointer indexes of interface fields, as `schema/worker.capnp` lays them out. */
const RUN_PARAMS_MODULE = 1;
const RUN_PARAMS_OUTPUT = 2;
const RUN_RESULTS_RUN = 0;

export interface WorkerTarget extends Partial<Disposable> {
  /** Starts the attempt. Takes `module` and `output` over, even when it throws. */
  run(spec: RunSpec, module: ModuleClient, output: OutputClient): RunTarget;
}

/** Owns its capability. */
export class WorkerClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /**
   * Starts the attempt and returns at once; calls on the run are pipelined, and fail as this call fails. Borrows `module`
   * and `output`.
   */
  run(spec: RunSpec, module: Capability, output: Capability): RunClient {
    const answer = this.capability.call(RUN, (params) => {
      encodeRunSpec(params._initSpec(), spec);
      setCapability(params, RUN_PARAMS_MODULE, module);
      setCapability(params, RUN_PARAMS_OUTPUT, output);
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
      const module = getCapability(params, RUN_PARAMS_MODULE);
      const output = getCapability(params, RUN_PARAMS_OUTPUT);
      if (module === undefined || output === undefined) {
        module?.[Symbol.dispose]();
        output?.[Symbol.dispose]();
        throw invalidMessage("a run without a module or an output");
      }
      using run = serveRun(target.run(spec, new ModuleClient(module), new OutputClient(output)));
      setCapability(results, RUN_RESULTS_RUN, run);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}
