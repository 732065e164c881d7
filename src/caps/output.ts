/** `Output`: where the output of one attempt goes, as its worker holds it. */
import { OUTPUT_CHUNK_BYTES_MAX } from "../base/limits.ts";
import { Output$Client, Stream } from "../generated/worker.ts";
import type { OutputStream } from "../model/output.ts";
import type { CallOptions, Capability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { decodeData, decodeUint, encodeData, invalidMessage } from "./scalars.ts";

const [WRITE] = Output$Client.methods;

export interface OutputTarget {
  /** Resolves, with the durable offset, when the bytes are durable. `offset` counts the attempt's log bytes. */
  write(offset: number, stream: OutputStream, bytes: Uint8Array): Promise<number>;
}

/** Owns its capability. At most OUTPUT_CHUNK_BYTES_MAX a write, and one write at a time. */
export class OutputClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  async write(offset: number, stream: OutputStream, bytes: Uint8Array, options: CallOptions = {}): Promise<number> {
    using answer = this.capability.call(
      WRITE,
      (params) => {
        params.offset = BigInt(offset);
        params.stream = stream === "stderr" ? Stream.STDERR : Stream.STDOUT;
        encodeData(params._initBytes(bytes.length), bytes);
      },
      options,
    );
    return decodeUint((await answer.result()).durableOffset, "durable offset");
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

export function serveOutput(target: OutputTarget): Capability {
  return serve(Output$Client, {
    write: async (params, results) => {
      const offset = decodeUint(params.offset, "offset");
      const stream = decodeStream(params.stream);
      const bytes = decodeData(params.bytes, OUTPUT_CHUNK_BYTES_MAX, "output");
      results.durableOffset = BigInt(await target.write(offset, stream, bytes));
    },
  });
}

function decodeStream(stream: Stream): OutputStream {
  if (stream === Stream.STDERR) return "stderr";
  if (stream === Stream.STDOUT) return "stdout";
  throw invalidMessage("a stream that this version does not know");
}
