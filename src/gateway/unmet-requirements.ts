/**
 * What ready runs require that the offers at hand did not have: a round of matching leaves such runs out of what it reads,
 * so that however many of them wait, they cost nothing until somebody offers what they want.
 *
 * Only a memory of what numbers stand for (`ReadyRun.requirement`): whether a requirement is met is looked up anew for the
 * offers of each round. What is forgotten is read, and remembered, again.
 */
import { UNMET_REQUIREMENTS_MAX } from "../base/limits.ts";
import { meetsRequirements } from "../model/worker.ts";
import type { ReadyRun } from "../store/store.ts";
import type { OfferView } from "./matching.ts";

export class UnmetRequirements {
  /** The one that was met or seen longest ago comes first. */
  readonly #labels = new Map<number, Readonly<Record<string, string>>>();

  /** Remembers what these runs require, of those that none of the offers can take. */
  note(runs: readonly ReadyRun[], offers: readonly OfferView[]): void {
    for (const { requirement, spec } of runs) {
      if (requirement === 0 || this.#labels.has(requirement) || isMet(spec.require, offers)) continue;
      this.#labels.set(requirement, spec.require);
    }
    for (const [oldest] of this.#labels) {
      if (this.#labels.size <= UNMET_REQUIREMENTS_MAX) break;
      this.#labels.delete(oldest);
    }
  }

  /** Numbers of remembered requirements that none of these offers meets. Those that are met are forgotten. */
  unmetBy(offers: readonly OfferView[]): readonly number[] {
    const workers = [...new Map(offers.map((offer) => [offer.peer, offer])).values()];
    for (const [requirement, labels] of this.#labels) if (isMet(labels, workers)) this.#labels.delete(requirement);
    return [...this.#labels.keys()];
  }
}

function isMet(required: Readonly<Record<string, string>>, offers: readonly OfferView[]): boolean {
  return offers.some(({ state }) => meetsRequirements(state.labels, required));
}
