/**
 * What the pool knows of a module: whether it may run, and the bytes to send for a cap. Making
 * a plan reads the module once; running it again needs only the plan.
 */
import { failed } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { CORE_MEMORIES_MAX } from "../../base/limits.ts";
import type { ModuleInspection } from "../../model/module.ts";
import { checkImports } from "../../model/wasi-imports.ts";
import { checkEntry, checkLimits } from "../../model/wasm-inspect.ts";
import { readChecked } from "../checked-content.ts";
import type { WasmGuestSpec } from "../guest.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { ComponentParts } from "./component-parts.ts";
import type { ComponentTranspiler } from "./component-transpiler.ts";
import { refuseGlueNames } from "./glue-names.ts";
import { operateOnModule, WASM_PAGE_BYTES } from "./module-surgery.ts";
import type { VerdictCache } from "./verdict-cache.ts";
import type { ModuleParts } from "./runner-process.ts";
import type { OrderedEntry } from "./wire.ts";

/** A core module, or one of a component's. */
interface CorePlan {
  readonly name: string;
  /** Pages its memory begins with, and the most it asks for itself. Without memory of its own: undefined. */
  readonly memory: { readonly minPages: number; readonly maxPages: number } | undefined;
}

export type GuestPlan =
  | { readonly ok: false; readonly reason: string }
  | {
      readonly ok: true;
      readonly digest: Digest;
      readonly inspection: ModuleInspection;
      readonly cores: readonly CorePlan[];
      /** Core modules only: where the memory and the start function will be found. */
      readonly layout:
        { readonly memoryExport: string | undefined; readonly startExport: string | undefined } | undefined;
      readonly memo: PlanMemo;
    };

export type GoodPlan = Extract<GuestPlan, { ok: true }>;

/** What one task's entry and limits make of a plan. */
interface AdmittedModule {
  readonly moduleKey: string;
  /** The most each core's memory may grow to, in pages, by the order of `cores`. */
  readonly pagesMax: readonly number[];
  /** Bytes of memory it begins with. */
  readonly initialBytes: number;
}

export interface GuestAdmission extends AdmittedModule {
  readonly entry: OrderedEntry;
}

/** What saves work. */
interface PlanMemo {
  /** The runs of a task are admitted alike. */
  last: LastAdmission | undefined;
  /** The module as it was read to be planned, for the run that waits for that. Cleared by whoever holds the plan. */
  bytes: Uint8Array | undefined;
}

interface LastAdmission {
  readonly kind: WasmGuestSpec["entry"]["kind"];
  readonly memoryBytes: number;
  readonly admitted: AdmittedModule | Outcome;
}

/**
 * Reads and judges a module, whatever its gateway has found. Rejects when its file cannot be read, and when the machine
 * keeps it from being judged; and with the signal's reason, if it was being transpiled.
 */
export async function planGuest(
  spec: WasmGuestSpec,
  transpiler: ComponentTranspiler,
  verdicts: Pick<VerdictCache, "verdictOn">,
  options: { readonly signal: AbortSignal },
): Promise<GuestPlan> {
  const bytes = await readChecked(spec.modulePath, spec.digest);
  const inspected = await verdicts.verdictOn(bytes, spec.digest);
  if (!inspected.ok) return inspected;
  const { inspection } = inspected;
  const imports = checkImports(inspection);
  if (!imports.ok) return imports;
  if (inspection.kind === "core") {
    const core = planCore("module", inspection);
    if (typeof core === "string") return { ok: false, reason: core };
    const { memoryExport, startExport } = operateOnModule(bytes, core.memory?.minPages ?? 0);
    const layout = { memoryExport, startExport };
    return { ok: true, digest: spec.digest, inspection, cores: [core], layout, memo: { last: undefined, bytes } };
  }
  const transpiled = await transpiler.transpile(spec.digest, bytes, options);
  if (!transpiled.ok) return transpiled;
  const cores: CorePlan[] = [];
  for (const part of transpiled.parts.cores) {
    const inner = await verdicts.verdictOn(part.bytes);
    if (!inner.ok) return inner;
    const unsafe = refuseGlueNames(inner.inspection);
    if (unsafe !== undefined) return { ok: false, reason: unsafe };
    const core = planCore(part.name, inner.inspection);
    if (typeof core === "string") return { ok: false, reason: core };
    cores.push(core);
  }
  return { ok: true, digest: spec.digest, inspection, cores, layout: undefined, memo: { last: undefined, bytes } };
}

/** Holds a plan against a task's entry and limits: what to order from a runner, or the outcome without one. */
export function admitGuest(plan: GoodPlan, spec: WasmGuestSpec): GuestAdmission | Outcome {
  const { memoryBytes } = spec;
  const { kind } = spec.entry;
  let last = plan.memo.last;
  if (last?.kind !== kind || last.memoryBytes !== memoryBytes) {
    last = { kind, memoryBytes, admitted: admitModule(plan, spec) };
    plan.memo.last = last;
  }
  const { admitted } = last;
  if ("kind" in admitted) return admitted;
  const { moduleKey, pagesMax, initialBytes } = admitted;
  return { moduleKey, pagesMax, initialBytes, entry: orderEntry(plan, spec) };
}

function admitModule(plan: GoodPlan, spec: WasmGuestSpec): AdmittedModule | Outcome {
  const entry = checkEntry(plan.inspection, spec.entry.kind, spec.entry.kind === "run");
  if (!entry.ok) return { kind: "rejected", reason: entry.reason };
  const capPages = Math.floor(spec.memoryBytes / WASM_PAGE_BYTES);
  const initialPages = plan.cores.reduce((sum, core) => sum + (core.memory?.minPages ?? 0), 0);
  const limits = checkLimits(plan.inspection, spec.memoryBytes);
  if (initialPages > capPages) {
    const reason = limits.ok
      ? `it begins with ${initialPages} pages of memory, and ${capPages} are its cap`
      : limits.reason;
    return { kind: "memory-exceeded", reason };
  }
  if (!limits.ok) return { kind: "rejected", reason: limits.reason };
  const pagesMax = limitPages(plan.cores, capPages - initialPages);
  return {
    moduleKey: `${plan.digest}:${pagesMax.join(",")}`,
    pagesMax,
    initialBytes: initialPages * WASM_PAGE_BYTES,
  };
}

/** The bytes to send for an admission. Rejects when a file cannot be read, or no longer is what was planned. */
export async function loadParts(
  plan: GoodPlan,
  admission: GuestAdmission,
  spec: WasmGuestSpec,
  transpiler: ComponentTranspiler,
  options: { readonly signal: AbortSignal },
): Promise<ModuleParts> {
  const bytes = plan.memo.bytes ?? (await readChecked(spec.modulePath, spec.digest));
  if (plan.inspection.kind === "core") {
    return { cores: [operateOnModule(bytes, admission.pagesMax[0] ?? 0).chunks], glue: undefined };
  }
  const transpiled = await transpiler.transpile(spec.digest, bytes, options);
  if (!transpiled.ok) throw failed(transpiled.reason);
  return { cores: capCores(transpiled.parts, admission), glue: transpiled.parts.glue };
}

function capCores(parts: ComponentParts, admission: GuestAdmission): (readonly Uint8Array[])[] {
  return parts.cores.map(
    ({ bytes }, index) => operateOnModule(bytes, admission.pagesMax[index] ?? 0, { keepsStart: true }).chunks,
  );
}

function orderEntry(plan: GoodPlan, spec: WasmGuestSpec): OrderedEntry {
  if (spec.entry.kind === "component") return { kind: "component", coreNames: plan.cores.map(({ name }) => name) };
  const layout = plan.layout ?? { memoryExport: undefined, startExport: undefined };
  return { ...spec.entry, ...layout };
}

function planCore(name: string, inspection: ModuleInspection): CorePlan | string {
  const own = inspection.memories.filter((memory) => !memory.isImported);
  if (inspection.memories.length > CORE_MEMORIES_MAX) return "it has more than one memory";
  if (inspection.memories.some((memory) => memory.isShared)) return "it has a shared memory, as threads need it";
  if (inspection.memories.some((memory) => memory.is64)) return "it has a 64-bit memory";
  const [memory] = own;
  if (memory === undefined) return { name, memory: undefined };
  return { name, memory: { minPages: memory.minPages, maxPages: memory.maxPages ?? Infinity } };
}

/**
 * The most each memory may grow to: by all that is left. Where there are several, what they have together is watched
 * from outside, and counted at the end.
 */
function limitPages(cores: readonly CorePlan[], pagesLeft: number): number[] {
  return cores.map(({ memory }) => (memory === undefined ? 0 : Math.min(memory.maxPages, memory.minPages + pagesLeft)));
}
