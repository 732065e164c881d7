/** What every benchmark shares: percentiles, bounded concurrency, and the table. */

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** The figure it is to be held against, of the same run. */
  readonly against?: { readonly name: string; readonly value: number } | undefined;
  /** What it, or its ratio to `against` where there is one, should be. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number } | undefined;
}

/** The value below which this share of the samples lies, by nearest rank. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? NaN;
}

/** Calls `once` `count` times, at most `inFlight` at a time, and resolves with the calls per second. */
export async function rate(count: number, inFlight: number, once: (index: number) => Promise<void>): Promise<number> {
  let next = 0;
  const lane = async () => {
    while (next < count) await once(next++);
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return (count / (performance.now() - startedAt)) * 1000;
}

/** How long each of `count` calls takes, one after the other, in milliseconds. */
export async function latencies(count: number, once: (index: number) => Promise<void>): Promise<number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedAt = performance.now();
    await once(index);
    samples.push(performance.now() - startedAt);
  }
  return samples;
}

/** Rows for people. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { name, unit, value, against } = figure;
    const ratio = against && `${(value / against.value).toFixed(3)} × ${against.name} (${shown(against.value)})`;
    return [name, `${shown(value)} ${unit}`, [ratio, verdict(figure)].filter(Boolean).join("; ")];
  });
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => `${row[0]?.padEnd(widths[0] ?? 0)}  ${row[1]?.padStart(widths[1] ?? 0)}  ${row[2]}`.trimEnd())
    .join("\n");
}

function verdict({ value, against, target }: Figure): string {
  if (target === undefined) return "";
  const held = against === undefined ? value : value / against.value;
  const [sign, limit, isMet] =
    "atMost" in target ? ["≤", target.atMost, held <= target.atMost] : ["≥", target.atLeast, held >= target.atLeast];
  return `target ${sign} ${limit}${against === undefined ? "" : " ×"}: ${isMet ? "met" : "MISSED"}`;
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
