/**
 * What ready runs require that the offers at hand did not have: a round of matching leaves such runs out of what it reads,
 * so that however many of them wait, they cost nothing until somebody offers what they want.
 *
 * Only a memory of what numbers stand for (`ReadyRun.requirement`): whether a requirement is met is looked up anew for the
 * offers of each round. What is forgotten is read, and remembered, again.
 */
import { UNMET_REQUIREMENTS_MAX } from "../base/limits.ts";
import { type Entry, WASM_ENTRIES, isWasmEntry } from "../model/entry.ts";
import { type Requirements, meetsRequirements } from "../model/worker.ts";
import type { ReadyRun } from "../store/store.ts";
import type { OfferView } from "./matching.ts";

export class UnmetRequirements {
  /** The one that was noted longest ago comes first. */
  readonly #unmet = new Map<number, Requirements>();

  /** Remembers what these runs require, of those that none of the offers can take. */
  note(runs: readonly ReadyRun[], offers: readonly OfferView[]): void {
    for (const { requirement, spec } of runs) {
      if (this.#unmet.has(requirement) || isMet(spec, offers)) continue;
      this.#unmet.set(requirement, { require: spec.require, entry: spec.entry });
    }
    for (const [oldest] of this.#unmet) {
      if (this.#unmet.size <= UNMET_REQUIREMENTS_MAX) break;
      this.#unmet.delete(oldest);
    }
  }

  /** Numbers of remembered requirements that none of these offers meets. Those that are met are forgotten. */
  unmetBy(offers: readonly OfferView[]): readonly number[] {
    const workers = [...new Map(offers.map((offer) => [offer.peer, offer])).values()];
    for (const [number, required] of this.#unmet) if (isMet(required, workers)) this.#unmet.delete(number);
    return [...this.#unmet.keys()];
  }
}

/** The entries of WebAssembly share their numbers: none of these is left out where one of them could be taken. */
function isMet({ require, entry }: Requirements, offers: readonly OfferView[]): boolean {
  const entries: readonly Entry[] = isWasmEntry(entry) ? WASM_ENTRIES : [entry];
  return offers.some(({ state }) => entries.some((each) => meetsRequirements(state, { require, entry: each })));
}
