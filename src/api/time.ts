/** Times on the wire: RFC 3339, UTC, with milliseconds. Inside they are milliseconds since the Unix epoch. */

const RFC_3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/;

/** The first and last moment that four digits of a year can name. */
const TIME_MIN = new Date("0000-01-01T00:00:00Z").getTime();
export const TIME_MAX = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** `2026-11-22T10:00:00.000Z`. The time is between the years 0 and 9999. */
export function formatTime(time: number): string {
  return new Date(time).toISOString();
}

/** As `formatTime`; null for undefined. */
export function formatOptionalTime(time: number | undefined): string | null {
  return time === undefined ? null : formatTime(time);
}

/** Undefined where the text is not an RFC 3339 time, a 30th of February included. Fractions are cut to milliseconds. */
export function parseTime(text: string): number | undefined {
  const match = RFC_3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", zone = "Z"] = match;
  const milliseconds = fraction.slice(1, 4).padEnd(3, "0");
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  date.setUTCHours(Number(hour), Number(minute), Number(second), Number(milliseconds));
  const offset = parseZone(zone);
  if (offset === undefined) return undefined;
  const time = date.getTime() - offset;
  return time >= TIME_MIN && time <= TIME_MAX ? time : undefined;
}

function parseZone(zone: string): number | undefined {
  if (zone === "Z" || zone === "z") return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}
