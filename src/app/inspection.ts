/** The inspection of modules in this process: a sandbox that is opened when it is first wanted, and the inspector in it. */
import { join } from "node:path";
import type { Log } from "../base/log.ts";
import { INSPECTOR_CELL } from "../inspect/inspection-process.ts";
import { Inspector } from "../inspect/inspector.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import type { Powers } from "./app.ts";

export interface Inspection extends AsyncDisposable {
  readonly inspector: Inspector;
  /** One sandbox, whoever asks. */
  readonly openSandbox: () => Promise<Sandbox>;
  /** Removes what older versions left, where nobody else uses the sandbox. Never rejects. */
  readonly tidy: () => Promise<void>;
}

/** `folder` is the data directory. Its disposal ends the inspector's process. */
export function openInspection(folder: string, { clock }: Powers, log: Log): Inspection {
  const scratchFolder = join(folder, "sandbox");
  let opening: Promise<Sandbox> | undefined;
  const openSandbox = (): Promise<Sandbox> => {
    opening ??= Sandbox.open({ scratchFolder, log }).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };
  const inspector = new Inspector({ openSandbox, clock, log });
  return {
    inspector,
    openSandbox,
    tidy: async () => {
      try {
        await (await openSandbox()).removeOldCells([INSPECTOR_CELL]);
      } catch (error) {
        log.warn("the sandboxes of older versions could not be removed", { error });
      }
    },
    [Symbol.asyncDispose]: () => inspector.close(),
  };
}
