/** `FileContent`: the bytes of one file to keep, on their way to the gateway. */
import { CHUNK_BYTES_MAX } from "../base/limits.ts";
import { FileContent$Client } from "../generated/worker.ts";
import type { CallOptions, Capability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { decodeData, encodeData } from "./scalars.ts";

const [WRITE, FINISH] = FileContent$Client.methods;

export interface FileContentTarget extends Partial<Disposable> {
  /** Takes the bytes over. Called in the order of the calls. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the file is durable. Idempotent. */
  finish(): Promise<void>;
}

/** Owns its capability. */
export class FileContentClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** At most CHUNK_BYTES_MAX. A few calls may be under way at once. */
  async write(bytes: Uint8Array, options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(WRITE, (params) => encodeData(params._initBytes(bytes.length), bytes), options);
    await answer.result();
  }

  async finish(options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(FINISH, undefined, options);
    await answer.result();
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** `target` is disposed when the worker has dropped the capability. */
export function serveFileContent(target: FileContentTarget): Capability {
  return serve(FileContent$Client, {
    write: (params) => target.write(decodeData(params.bytes, CHUNK_BYTES_MAX, "a file's bytes")),
    finish: () => target.finish(),
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}
