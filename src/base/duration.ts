/** Durations as people write them: seconds with decimals (`1.5`), or a number with `ms`, `s`, `m`, `h` or `d`. */

const MS_PER_UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const DURATION = /^(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)?$/;

/** In milliseconds, at least 0 and finite; undefined when the text is not a duration. A bare number is seconds. */
export function parseDurationMs(text: string): number | undefined {
  const match = DURATION.exec(text.trim());
  if (match === null) return undefined;
  const [, amount = "", unit = "s"] = match;
  const durationMs = Number(amount) * (MS_PER_UNIT[unit] ?? NaN);
  return Number.isFinite(durationMs) ? durationMs : undefined;
}
