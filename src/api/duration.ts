/**
 * Durations on the wire: seconds with decimals, or a number with a unit (`500ms`, `2s`, `5m`, `1h`, `1d`). They are
 * echoed as seconds. Inside they are whole milliseconds.
 */

const DURATION = /^(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)?$/;
/** More digits than any duration needs: keeps a hostile field from costing time. */
const TEXT_LENGTH_MAX = 32;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Whole milliseconds, at least 0. Undefined where the text is no duration: signs, exponents and spaces are none. */
export function parseDuration(text: string): number | undefined {
  if (text.length > TEXT_LENGTH_MAX) return undefined;
  const match = DURATION.exec(text);
  if (match === null) return undefined;
  const [, count, unit = "s"] = match;
  const unitMs = UNIT_MS[unit];
  return unitMs === undefined ? undefined : Math.round(Number(count) * unitMs);
}

/** Milliseconds as seconds, exact to the millisecond. */
export function secondsOf(durationMs: number): number {
  return durationMs / 1_000;
}
