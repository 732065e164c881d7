/** Reads a module's outside from a file of this machine, as a gateway would read it. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { type ModuleJson, moduleOutside } from "../api/module-json.ts";
import { assert, failed, messageOf } from "../base/errors.ts";
import { parseDigest } from "../base/ids.ts";
import { MODULE_BYTES_MAX } from "../base/limits.ts";
import { checkRunnable } from "../model/wasm-admission.ts";
import { inspectModule } from "../model/wasm-inspect.ts";

export interface ModuleFile extends Omit<ModuleJson, "createdAt"> {
  /** The way in that a task takes which names none; null where it cannot run. */
  readonly entry: string | null;
  /** Why a gateway would refuse it; null if it would not. */
  readonly rejection: string | null;
}

/** Rejects with `failed`, code `usage`, for a file that cannot be read or is no module; the message says what to do. */
export async function inspectModuleFile(path: string): Promise<ModuleFile> {
  const bytes = await readModule(path);
  const verdict = inspectModule(bytes);
  if (!verdict.ok) throw failed(`${path}: ${verdict.reason}`, { code: "usage" });
  const digest = parseDigest(createHash("sha256").update(bytes).digest("hex"));
  assert(digest !== undefined, "a SHA-256 in hex is a digest");
  const admission = checkRunnable(verdict.inspection);
  return {
    ...moduleOutside(digest, verdict.inspection),
    entry: admission.ok ? admission.entry : null,
    rejection: admission.ok ? null : admission.reason,
  };
}

async function readModule(path: string): Promise<Uint8Array> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > MODULE_BYTES_MAX) {
      throw new Error(`it is larger than a module may be, ${MODULE_BYTES_MAX / (1024 * 1024)} MiB`);
    }
    return await file.readFile();
  } catch (cause) {
    throw failed(`cannot read ${path}: ${messageOf(cause)}`, { code: "usage", cause });
  }
}
