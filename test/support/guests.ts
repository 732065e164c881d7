/** The built example guests, and modules as tests look at them. */
import { readFileSync } from "node:fs";
import type { ModuleInspection } from "../../src/model/module.ts";
import { inspectModule } from "../../src/model/wasm-inspect.ts";

type GuestName = "hash" | "hello" | "component";

function guestPath(guest: GuestName): URL {
  return new URL(`../../wasm-tasks/${guest}/${guest}.wasm`, import.meta.url);
}

export function guestBytes(guest: GuestName): Uint8Array<ArrayBuffer> {
  return readFileSync(guestPath(guest));
}

/** The inspection of a module that is sound. */
export function inspected(bytes: Uint8Array): ModuleInspection {
  const result = inspectModule(bytes);
  if (!result.ok) throw new Error(result.reason);
  return result.inspection;
}
