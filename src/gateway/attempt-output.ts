/**
 * Where the output of one attempt goes: into the store, and then to who watches. A worker is believed in nothing: what
 * comes from an attempt that is over, or past what the attempt may write, is refused.
 */
import { failed } from "../base/errors.ts";
import { serveOutput } from "../caps/output.ts";
import type { AttemptId } from "../model/run.ts";
import type { Capability } from "../rpc/capability.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import { AttemptFiles } from "./attempt-files.ts";
import type { BlobPins } from "./blob-pins.ts";
import type { EventHub } from "./events.ts";
import { storeTrouble } from "./store-trouble.ts";

export interface AttemptOutputInit {
  readonly id: AttemptId;
  /** Bytes of log that this attempt may write: its task's cap, which is that of the run's log too. */
  readonly bytesMax: number;
  readonly store: Store;
  readonly blobs: Pick<BlobStore, "create">;
  readonly pins: Pick<BlobPins, "pin" | "retireUnused">;
  readonly events: EventHub;
}

/** The capability becomes the caller's. */
export function outputOf(init: AttemptOutputInit): Capability {
  const { id, bytesMax, store, events } = init;
  const files = new AttemptFiles(init);
  return serveOutput({
    keep: (file) => files.keep(file),
    write: async (offset, stream, bytes) => {
      if (offset + bytes.length > bytesMax) {
        throw failed(`an attempt may write ${bytesMax} bytes; this would be ${offset + bytes.length}`, {
          code: "output-limit",
        });
      }
      const result = await store.appendOutput(id, offset, stream, bytes).catch((error: unknown) => {
        throw storeTrouble(error);
      });
      switch (result.kind) {
        case "appended": {
          // The run's log holds no more than one attempt may write.
          const outputBytes = Math.min(bytesMax, result.runOffset + result.durableOffset);
          if (bytes.length > 0) events.publish({ type: "output", task: id.task, run: id.run, outputBytes });
          return result.durableOffset;
        }
        case "gap":
          throw failed(`output before offset ${offset} is missing; send from ${result.durableOffset}`, {
            code: "output-gap",
          });
        case "stale":
          throw failed("this attempt is over", { code: "stale-attempt" });
      }
    },
  });
}
