/** What to ask of a value that somebody else has written as JSON, before it is believed. */

export function isRecord(raw: unknown): raw is Record<string, unknown> {
  return typeof raw === "object" && raw !== null;
}

/** A number of things, or of units: finite, and not below nothing. */
export function isAmount(raw: unknown): raw is number {
  return typeof raw === "number" && Number.isFinite(raw) && raw >= 0;
}
