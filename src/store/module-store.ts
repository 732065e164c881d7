/**
 * The store's contract, as far as it is about modules. Their bytes are in the blob store. What was found out about one stays
 * when its last task is deleted, and when its blob is: it is as true as ever, but says nothing about whether the bytes are
 * there. The promises are those of `store.ts`.
 */
import type { Digest } from "../base/ids.ts";
import type { ModuleInspection, StoredModule } from "../model/module.ts";

export interface ModuleStore {
  getModule(digest: Digest): Promise<StoredModule | undefined>;
  /**
   * Holds a module that came by itself, whose bytes the caller has pinned: until it is released its blob counts as used.
   * Held anew, it counts as brought now; so does one that a submission names, within HELD_MODULE_AGE_GRAIN_MS. `isNew`:
   * it was neither held nor any task's. `too-many`: HELD_MODULES_MAX are held already, and this is none of them.
   */
  holdModule(digest: Digest, inspection: ModuleInspection, now: number): Promise<HoldModuleResult>;
  /**
   * Those that are held or that a task uses, newest first: by when they came, or came back. A page may be short, or empty;
   * the last one is that without a cursor.
   */
  listModules(options: ListModulesOptions): Promise<ModulePage>;
  /**
   * Releases modules that were last brought or named before `heldBefore`, and at `heldFrom` or later (default: at any time),
   * the oldest first, of `limit` that it looks at; one that a task uses counts as named `now`. To be called again until it
   * is through.
   */
  releaseModules(heldBefore: number, limit: number, now: number, heldFrom?: number): Promise<ReleaseModulesResult>;
}

export type HoldModuleResult =
  { readonly kind: "held"; readonly isNew: boolean; readonly module: StoredModule } | { readonly kind: "too-many" };

export interface ListModulesOptions {
  readonly limit: number;
  /** What the page before gave. Text that no page gave rejects with `failed`, code `invalid-cursor`. */
  readonly cursor?: string | undefined;
}

export interface ModulePage {
  readonly modules: readonly StoredModule[];
  readonly cursor?: string | undefined;
}

export interface ReleaseModulesResult {
  /** Nothing holds their blobs any more: whoever has the blob store looks whether anything else does. */
  readonly released: readonly Digest[];
  /** There are no more that old. */
  readonly isThrough: boolean;
}
