/** Randomness, handed in, so that a simulation can own it. */
export interface Random {
  /** Uniform in [0, 1). Not for secrets. */
  next(): number;
}

/** A uniformly random index below `length`, which is at least 1. */
export function randomIndex(random: Random, length: number): number {
  return Math.floor(random.next() * length);
}
