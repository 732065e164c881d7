/** `Module`: the bytes of a module, as a worker holds it for the time of a fetch. */
import { CHUNK_BYTES_MAX } from "../base/limits.ts";
import { Module$Client } from "../generated/module.ts";
import type { CallOptions, Capability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { decodeData, decodeUint, encodeData } from "./scalars.ts";

const [READ] = Module$Client.methods;

export interface ModuleTarget extends Partial<Disposable> {
  /** Up to `length` bytes, at most CHUNK_BYTES_MAX; fewer only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Owns its capability. */
export class ModuleClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Fewer than `length` bytes only at the end of the module, or when more than CHUNK_BYTES_MAX were asked for. */
  async read(offset: number, length: number, options: CallOptions = {}): Promise<Uint8Array> {
    using answer = this.capability.call(
      READ,
      (params) => {
        params.offset = BigInt(offset);
        params.length = Math.min(length, CHUNK_BYTES_MAX);
      },
      options,
    );
    return decodeData((await answer.result()).bytes, CHUNK_BYTES_MAX, "module bytes");
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

export function serveModule(target: ModuleTarget): Capability {
  return serve(Module$Client, {
    read: async (params, results) => {
      const length = Math.min(params.length, CHUNK_BYTES_MAX);
      const bytes = await target.read(decodeUint(params.offset, "offset"), length);
      encodeData(results._initBytes(bytes.length), bytes);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}
