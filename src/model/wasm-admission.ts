/** Whether there is a task that could run a module: with its imports, a way in, and what it asks for at the start. */
import { MEMORY_MIB_MAX } from "../base/limits.ts";
import type { WasmEntry } from "./entry.ts";
import type { ModuleInspection } from "./module.ts";
import { checkImports } from "./wasi-imports.ts";
import { checkEntry, checkLimits } from "./wasm-inspect.ts";

export type Admission =
  /** `entry` is the one a task takes that names none. */
  | { readonly ok: true; readonly entry: WasmEntry }
  /** A sentence for whoever sent the module. */
  | { readonly ok: false; readonly reason: string };

export function checkRunnable(inspection: ModuleInspection): Admission {
  const imports = checkImports(inspection);
  if (!imports.ok) return imports;
  const entry = checkEntry(inspection, undefined, false);
  if (!entry.ok) return entry;
  const limits = checkLimits(inspection, MEMORY_MIB_MAX * MIB);
  return limits.ok ? entry : limits;
}

const MIB = 1024 * 1024;
