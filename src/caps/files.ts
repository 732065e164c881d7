/** `Files`: the contents of a run's input files, as its worker holds them for the time of fetching. */
import type { Digest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX } from "../base/limits.ts";
import { Files$Client } from "../generated/worker.ts";
import type { CallOptions, Capability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { DIGEST_BYTES, decodeData, decodeDigest, decodeUint, encodeData, encodeDigest } from "./scalars.ts";

const [READ] = Files$Client.methods;

export interface FilesTarget extends Partial<Disposable> {
  /** Up to `length` bytes, at most CHUNK_BYTES_MAX; fewer only at the end. */
  read(digest: Digest, offset: number, length: number): Promise<Uint8Array>;
}

/** Owns its capability. */
export class FilesClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Fewer than `length` bytes only at the end of the file, or when more than CHUNK_BYTES_MAX were asked for. */
  async read(digest: Digest, offset: number, length: number, options: CallOptions = {}): Promise<Uint8Array> {
    using answer = this.capability.call(
      READ,
      (params) => {
        encodeDigest(params._initDigest(DIGEST_BYTES), digest);
        params.offset = BigInt(offset);
        params.length = Math.min(length, CHUNK_BYTES_MAX);
      },
      options,
    );
    return decodeData((await answer.result()).bytes, CHUNK_BYTES_MAX, "a file's bytes");
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** `target` is disposed when the worker has dropped the capability. */
export function serveFiles(target: FilesTarget): Capability {
  return serve(Files$Client, {
    read: async (params, results) => {
      const length = Math.min(params.length, CHUNK_BYTES_MAX);
      const bytes = await target.read(decodeDigest(params.digest), decodeUint(params.offset, "offset"), length);
      encodeData(results._initBytes(bytes.length), bytes);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}
