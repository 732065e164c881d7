/**
 * What earlier runs of large modules showed, by digest, kept over restarts. Bounded: the digests that were run longest
 * ago go. Losing it costs a slower run, so that nothing here rejects and nothing is synced.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { type Digest, parseDigest } from "../../base/ids.ts";
import { TIER_MEMORY_BYTES_MAX, TIER_MEMORY_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import type { RunnerTier } from "./runner-cell.ts";
import { chooseTier, rememberRun } from "./tier-choice.ts";
import type { FinishedRun, ModuleHistory } from "./tier-choice.ts";

export interface TierMemoryInit {
  /** Pools that share it learn apart; the last to write leaves what it knows. */
  readonly path: string;
  readonly log: Log;
}

export class TierMemory implements AsyncDisposable {
  readonly #init: TierMemoryInit;
  /** The one that was run longest ago first. */
  readonly #histories: Map<Digest, ModuleHistory>;
  #hasChanged = false;
  #saving: Promise<void> | undefined;

  private constructor(init: TierMemoryInit, histories: Map<Digest, ModuleHistory>) {
    this.#init = init;
    this.#histories = histories;
  }

  /** Takes over what an earlier process left at that path, as far as it can be read. */
  static async open(init: TierMemoryInit): Promise<TierMemory> {
    const text = await readFile(init.path, "utf8").catch(() => "");
    return new TierMemory(init, parseHistories(text.length > TIER_MEMORY_BYTES_MAX ? "" : text));
  }

  tierFor(digest: Digest, codeBytes: number): RunnerTier {
    return chooseTier(codeBytes, this.#histories.get(digest));
  }

  remember(digest: Digest, codeBytes: number, run: FinishedRun): void {
    const before = this.#histories.get(digest);
    const after = rememberRun(codeBytes, before, run);
    if (after === undefined) return;
    this.#histories.delete(digest);
    this.#histories.set(digest, after);
    const [oldest] = this.#histories.keys();
    if (this.#histories.size > TIER_MEMORY_MAX && oldest !== undefined) this.#histories.delete(oldest);
    this.#hasChanged = true;
    // What would not make a difference to the next process can wait for the end of this one.
    if (chooseTier(codeBytes, before) !== chooseTier(codeBytes, after)) void this.#save();
  }

  /** Writes what was learnt. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#saving;
    await this.#save();
  }

  /** One at a time; what changes meanwhile is written by the next. */
  #save(): Promise<void> {
    if (!this.#hasChanged) return Promise.resolve();
    this.#saving ??= this.#write().finally(() => (this.#saving = undefined));
    return this.#saving;
  }

  async #write(): Promise<void> {
    this.#hasChanged = false;
    const { path, log } = this.#init;
    const rows = [...this.#histories].map(([digest, { tier, workMs }]) => [digest, tier, Math.round(workMs)]);
    try {
      await writeFile(`${path}.new`, JSON.stringify(rows), { mode: 0o600 });
      await rename(`${path}.new`, path);
    } catch (error) {
      log.warn("what runs of modules showed could not be written down", { error });
    }
  }
}

function parseHistories(text: string): Map<Digest, ModuleHistory> {
  const histories = new Map<Digest, ModuleHistory>();
  for (const row of parseRows(text).slice(-TIER_MEMORY_MAX)) {
    if (!Array.isArray(row)) continue;
    const [name, tier, workMs] = row as readonly unknown[];
    const digest = typeof name === "string" ? parseDigest(name) : undefined;
    if (digest === undefined || typeof workMs !== "number" || !(workMs >= 0)) continue;
    if (tier === "optimized" || tier === "baseline") histories.set(digest, { tier, workMs });
  }
  return histories;
}

function parseRows(text: string): readonly unknown[] {
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? parsed : [];
  } catch {
    return [];
  }
}
