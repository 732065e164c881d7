/**
 * Cron expressions: when their slots are. A slot is a moment, in milliseconds since the Unix epoch; slots of one
 * expression strictly increase, so that each is there once, whatever clocks are put back.
 *
 * Five fields (minute, hour, day of the month, month, day of the week) or six (seconds first), with lists, ranges, steps,
 * names, `L`, `W`, `#`; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. A day matches when the day of the month
 * or the day of the week does where both are restricted, as in every cron.
 *
 * Where clocks change, the expression's hours decide:
 *
 * - Some hours are named (`30 2 * * *`): each time of day that is named has one slot a day. One that clocks skip has its
 *   slot at the first moment after the gap, together with all others in the gap; of one that comes twice, the slot is the first.
 * - Every hour is meant (`0,15,30,45 * * * *`): slots follow the time that passes. There are none in a gap, and those of an hour that
 *   comes twice come twice, as different moments.
 *
 * Pure: the same expression, zone and moment have the same answer on every machine that has the same time zone rules.
 */
import { Cron } from "croner";
import { CRON_LENGTH_MAX, CRON_SCHEDULES_MAX } from "../base/limits.ts";
import { parseTimezone } from "./timezone.ts";

export interface CronSchedule {
  /** The first slot after this moment; undefined where there is none for as long as anybody plans. */
  next(after: number): number | undefined;
  /** The latest slots that are not after `until`, at most `count`, ascending. */
  latest(until: number, count: number): readonly number[];
}

export type CronResult =
  | { readonly ok: true; readonly schedule: CronSchedule }
  /** Ends a sentence that the expression begins. */
  | { readonly ok: false; readonly reason: string };

/** Reads an expression. The zone has to be one that `parseTimezone` knows. */
export function parseCron(expression: string, timezone: string): CronResult {
  if (expression.length > CRON_LENGTH_MAX) {
    return refused(`is ${expression.length} characters long, and ${CRON_LENGTH_MAX} are the most`);
  }
  const fields = expandNickname(expression).split(/\s+/);
  if (fields.length !== 5 && fields.length !== 6) {
    return refused(
      `is not 5 or 6 fields, such as "30 2 * * *" (minute, hour, day, month, weekday) or "0 30 2 * * *" with seconds first`,
    );
  }
  try {
    const cron = new Cron(timesNamed(fields).join(" "), {
      timezone,
      paused: true,
      mode: "5-or-6-parts",
      fixedTimeRule: "no-wildcard",
    });
    return { ok: true, schedule: new CronerSchedule(cron) };
  } catch (thrown) {
    const message = thrown instanceof Error ? asWritten(thrown.message) : "it cannot be read";
    return refused(`cannot be read (${message}): five fields are minute, hour, day, month, weekday`);
  }
}

/** croner counts days and months from 0 inside, and says so; who wrote the expression counts from 1. */
function asWritten(message: string): string {
  return message
    .replace(/^CronPattern: /, "")
    .replace(
      /^(Invalid value for (?:day|month): )(-?\d+)$/,
      (_, what: string, value: string) => `${what}${Number(value) + 1}`,
    );
}

/**
 * Whether an expression that can be read has a slot at all after this moment. Looking for one that there is not would go
 * on for centuries; days of the week and of leap years come back within CALENDAR_YEARS, so that those decide.
 */
export function hasSlots(expression: string, timezone: string, after: number): boolean {
  const firstYear = new Date(after).getUTCFullYear() - 1;
  const years = `${firstYear}-${firstYear + CALENDAR_YEARS}`;
  const cron = new Cron(`${withSeconds(expandNickname(expression))} ${years}`, { timezone, paused: true });
  return cron.nextRun(new Date(after)) !== null;
}

/**
 * A year begins on each day of the week, as a leap year and as another, within any 40 years, also where a century has no
 * leap year. And two, for years that are not whole in one zone or the other.
 */
const CALENDAR_YEARS = 42;

function expandNickname(expression: string): string {
  return NICKNAMES[expression.trim().toLowerCase()] ?? expression.trim();
}

function withSeconds(expression: string): string {
  return expression.split(/\s+/).length === 5 ? `0 ${expression}` : expression;
}

/** Schedules of expressions that were accepted, read once each. The ones asked for lately are kept. */
export class CronSchedules {
  readonly #schedules = new Map<string, CronSchedule>();

  /** Undefined: it is not one that was accepted. */
  find(expression: string, timezone: string): CronSchedule | undefined {
    const key = `${timezone} ${expression}`;
    const known = this.#schedules.get(key);
    if (known !== undefined) {
      this.#schedules.delete(key);
      this.#schedules.set(key, known);
      return known;
    }
    const result = parseTimezone(timezone) === undefined ? undefined : parseCron(expression, timezone);
    if (result?.ok !== true) return undefined;
    this.#schedules.set(key, result.schedule);
    const [oldest] = this.#schedules.keys();
    if (this.#schedules.size > CRON_SCHEDULES_MAX && oldest !== undefined) this.#schedules.delete(oldest);
    return result.schedule;
  }
}

class CronerSchedule implements CronSchedule {
  readonly #cron: Cron;
  /** What was found last: many tasks have the same expression, and ask for the same. */
  #found: { readonly after: number; readonly slot: number } | undefined;

  constructor(cron: Cron) {
    this.#cron = cron;
  }

  next(after: number): number | undefined {
    const found = this.#found;
    // No slot is between the two.
    if (found !== undefined && found.after <= after && after < found.slot) return found.slot;
    const slot = this.#cron.nextRun(new Date(after))?.getTime();
    if (slot !== undefined) this.#found = { after, slot };
    return slot;
  }

  latest(until: number, count: number): readonly number[] {
    // croner counts whole seconds, and gives what is before the moment.
    const from = new Date((Math.floor(until / 1_000) + 1) * 1_000);
    return this.#cron
      .previousRuns(count, from)
      .map((date) => date.getTime())
      .reverse();
  }
}

const NICKNAMES: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};

const HOURS = 24;

/**
 * The fields in the form by which croner tells the two kinds apart: an expression that has a `*` or a step in its times of
 * day follows the time that passes, another one names times of day.
 */
function timesNamed(fields: readonly string[]): readonly string[] {
  const date = fields.slice(-3);
  const times = fields.slice(0, -3);
  const hours = times.at(-1) ?? "";
  const isEveryHour = valuesOf(hours, HOURS)?.length === HOURS;
  if (isEveryHour) return [...times.slice(0, -1), "*", ...date];
  const named = times.map(
    (field, index) => valuesOf(field, index === times.length - 1 ? HOURS : 60)?.join(",") ?? field,
  );
  return [...named, ...date];
}

const PIECE = /^(?:[*?]|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/;

/** What a field of numbers below `count` stands for; undefined where it is not one, which croner then refuses. */
function valuesOf(field: string, count: number): readonly number[] | undefined {
  const values = new Set<number>();
  for (const piece of field.split(",")) {
    const match = PIECE.exec(piece);
    if (match === null) return undefined;
    const [, from, to, step = "1"] = match;
    // A step needs a range to go through.
    if (from !== undefined && to === undefined && match[3] !== undefined) return undefined;
    const first = Number(from ?? 0);
    const last = from === undefined ? count - 1 : Number(to ?? from);
    if (last >= count || first > last || Number(step) === 0 || Number(step) > count) return undefined;
    for (let value = first; value <= last; value += Number(step)) values.add(value);
  }
  return Array.from(values).sort((one, other) => one - other);
}

function refused(reason: string): CronResult {
  return { ok: false, reason };
}
