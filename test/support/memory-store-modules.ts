/** A MemoryStore's operations on modules. */
import { failed } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import { HELD_MODULES_MAX, HELD_MODULE_AGE_GRAIN_MS } from "../../src/base/limits.ts";
import type { ModuleInspection, StoredModule } from "../../src/model/module.ts";
import type {
  HoldModuleResult,
  ListModulesOptions,
  ModulePage,
  ReleaseModulesResult,
} from "../../src/store/module-store.ts";
import type { Transaction } from "./memory-store-state.ts";

/** The module of a task that is about to be stored. */
export function noteModule(tx: Transaction, digest: Digest, inspection: ModuleInspection, now: number): void {
  const heldAt = tx.state.heldModules.get(digest);
  if (heldAt === undefined && !isUsedByTask(tx, digest)) setModule(tx, { digest, inspection, createdAt: now });
  if (heldAt !== undefined && heldAt < now - HELD_MODULE_AGE_GRAIN_MS) setHeld(tx, digest, now);
}

export function holdModule(
  tx: Transaction,
  digest: Digest,
  inspection: ModuleInspection,
  now: number,
): HoldModuleResult {
  const { heldModules } = tx.state;
  const heldAt = heldModules.get(digest);
  if (heldAt === undefined && heldModules.size >= HELD_MODULES_MAX) return { kind: "too-many" };
  setHeld(tx, digest, Math.max(now, heldAt ?? now));
  const isNew = heldAt === undefined && !isUsedByTask(tx, digest);
  const known = tx.state.modules.get(digest);
  const module = known === undefined || isNew ? { digest, inspection, createdAt: now } : known;
  setModule(tx, module);
  return { kind: "held", isNew, module };
}

export function listModules(tx: Transaction, { limit, cursor }: ListModulesOptions): ModulePage {
  const below = cursor === undefined ? undefined : parseCursor(cursor);
  const wanted = [...tx.state.modules.values()]
    .filter(({ digest }) => tx.state.heldModules.has(digest) || isUsedByTask(tx, digest))
    .toSorted(byAge)
    .filter((module) => below === undefined || byAge(module, below) > 0);
  const modules = wanted.slice(0, limit);
  const last = modules.at(-1);
  const isLast = last === undefined || modules.length === wanted.length;
  return { modules, cursor: isLast ? undefined : `${last.createdAt}_${last.digest}` };
}

/** When they were last brought or named. */
interface HeldWithin {
  readonly heldFrom: number;
  readonly heldBefore: number;
}

export function releaseModules(
  tx: Transaction,
  { heldFrom, heldBefore }: HeldWithin,
  limit: number,
  now: number,
): ReleaseModulesResult {
  const old = [...tx.state.heldModules]
    .filter(([, heldAt]) => heldFrom <= heldAt && heldAt < heldBefore)
    .toSorted(([, a], [, b]) => a - b)
    .slice(0, limit);
  const released: Digest[] = [];
  for (const [digest] of old) {
    if (isUsedByTask(tx, digest)) {
      setHeld(tx, digest, now);
      continue;
    }
    const left = new Map(tx.state.heldModules);
    left.delete(digest);
    tx.set({ heldModules: left });
    released.push(digest);
  }
  return { released, isThrough: old.length < limit };
}

type Position = Pick<StoredModule, "createdAt" | "digest">;

/** Newest first. */
function byAge(a: Position, b: Position): number {
  return b.createdAt - a.createdAt || (a.digest < b.digest ? 1 : -1) * (a.digest === b.digest ? 0 : 1);
}

function parseCursor(cursor: string): Position {
  const [time = "", name = ""] = cursor.split("_");
  const digest = parseDigest(name);
  if (digest !== undefined) return { createdAt: Number(time), digest };
  throw failed("the cursor is not one that a list of modules gave", { code: "invalid-cursor" });
}

function isUsedByTask(tx: Transaction, digest: Digest): boolean {
  return tx.state.tasks.values().some(({ spec }) => spec.module === digest);
}

function setHeld(tx: Transaction, digest: Digest, heldAt: number): void {
  tx.set({ heldModules: new Map(tx.state.heldModules).set(digest, heldAt) });
}

function setModule(tx: Transaction, module: StoredModule): void {
  tx.set({ modules: new Map(tx.state.modules).set(module.digest, module) });
}
