/** `Output`: where the output of one attempt goes, as its worker holds it. */
import { OUTPUT_CHUNK_BYTES_MAX } from "../base/limits.ts";
import { Output$Client, Stream } from "../generated/worker.ts";
import type { OutputStream } from "../model/output.ts";
import type { FileContent } from "../model/task-file.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { FileContentClient } from "./file-content.ts";
import {
  DIGEST_BYTES,
  decodeData,
  decodeDigest,
  decodeFilePath,
  decodeUint,
  encodeData,
  encodeDigest,
  invalidMessage,
} from "./scalars.ts";

const [WRITE, KEEP] = Output$Client.methods;
/** Pointer index of the interface field, as `schema/worker.capnp` lays it out. */
const KEEP_RESULTS_CONTENT = 0;

export interface OutputTarget {
  /** Resolves, with the durable offset, when the bytes are durable. `offset` counts the attempt's log bytes. */
  write(offset: number, stream: OutputStream, bytes: Uint8Array): Promise<number>;
  /** Where the file's bytes are to go, the caller's; undefined when the file is kept already. */
  keep(file: FileContent): Promise<Capability | undefined>;
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
        params.stream = encodeStream(stream);
        encodeData(params._initBytes(bytes.length), bytes);
      },
      options,
    );
    return decodeUint((await answer.result()).durableOffset, "durable offset");
  }

  /** Where to send the file's bytes, which is the caller's; undefined when the gateway has the file. */
  async keep(file: FileContent, options: CallOptions = {}): Promise<FileContentClient | undefined> {
    using answer = this.capability.call(
      KEEP,
      (params) => {
        params.path = file.path;
        encodeDigest(params._initDigest(DIGEST_BYTES), file.digest);
        params.bytes = BigInt(file.bytes);
      },
      options,
    );
    const content = getCapability(await answer.result(), KEEP_RESULTS_CONTENT);
    return content && new FileContentClient(content);
  }

  /** Another client of the same output, the caller's. */
  dup(): OutputClient {
    return new OutputClient(this.capability.dup());
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
    keep: async (params, results) => {
      using content = await target.keep({
        path: decodeFilePath(params.path),
        digest: decodeDigest(params.digest),
        bytes: decodeUint(params.bytes, "a file's bytes"),
      });
      if (content !== undefined) setCapability(results, KEEP_RESULTS_CONTENT, content);
    },
  });
}

export function encodeStream(stream: OutputStream): Stream {
  return stream === "stderr" ? Stream.STDERR : Stream.STDOUT;
}

export function decodeStream(stream: Stream): OutputStream {
  if (stream === Stream.STDERR) return "stderr";
  if (stream === Stream.STDOUT) return "stdout";
  throw invalidMessage("a stream that this version does not know");
}
