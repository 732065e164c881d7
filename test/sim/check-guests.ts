/** G4: executions overlap only after a lost lease, and it shows. G6: guests of what is over end. */
import type { PeerId } from "../../src/base/ids.ts";
import { LEASE_CHECK_EVERY_MS, LEASE_MS } from "../../src/base/limits.ts";
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

interface Execution {
  readonly id: AttemptId;
  readonly worker: PeerId;
  readonly beganAtMs: number;
  endedAtMs: number;
}

/** From the end of an attempt in the store to its guest's, at most: a lease that was renewed just before, a look, a kill. */
const GUEST_AFTER_END_MS_MAX = LEASE_MS + LEASE_CHECK_EVERY_MS + 500;
/** From a cancellation's answer to the guest's end where nothing goes wrong: the way to the worker, and 100 ms. */
const GUEST_AFTER_CANCEL_MS_MAX = 100 + 600;

export function checkGuests(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const executions = new Map<string, Execution>();
  const ends = new Map<string, End>();
  const leased = new Set<string>();
  const weather = new Weather(history);
  for (const event of history.events) {
    if (event.kind === "run-moved") {
      const id: AttemptId = { task: event.task, serial: event.serial, run: event.run, attempt: event.attempt };
      if (event.to === "running") leased.add(attemptKey(id));
      if (event.from === "running") ends.set(attemptKey(id), { atMs: event.atMs, state: event.attemptState });
    } else if (event.kind === "guest-began") {
      const key = attemptKey(event.id);
      if (executions.has(key)) found.push(`G4: attempt ${key} was carried out twice`);
      if (!leased.has(key)) found.push(`G4: attempt ${key} was begun without a lease`);
      const { id, worker, atMs } = event;
      executions.set(key, { id, worker, beganAtMs: atMs, endedAtMs: Infinity });
    } else if (event.kind === "guest-ended") {
      const execution = executions.get(attemptKey(event.id));
      if (execution !== undefined) execution.endedAtMs = event.atMs;
    } else if (event.kind === "task-deleted") {
      for (const key of leased) {
        if (key.startsWith(`${event.serial}/`) && !ends.has(key)) ends.set(key, { atMs: event.atMs, state: "deleted" });
      }
    }
  }
  const mayGoOn = (earlier: Execution, end: End | undefined, atMs: number) =>
    end !== undefined &&
    (end.state === "lost" || (end.state === "cancelled" && wasMistimed(history, earlier, end, atMs)));
  found.push(...overlaps([...executions.values()], ends, { mayGoOn, tally }));
  for (const [key, execution] of executions)
    found.push(...checkEnd({ history, weather, tally }, execution, ends.get(key)));
  return found;
}

interface End {
  readonly atMs: number;
  readonly state: string | undefined;
}

/**
 * One that was cancelled ends soon, or with its lease, and is not tried again before that: unless its worker stood still, or
 * a clock was set, so that the lease did not end when it should.
 */
function wasMistimed(history: History, earlier: Execution, end: End, atMs: number): boolean {
  const jumps = new Weather(history, (what) => what.startsWith("jump-clock"));
  const fromMs = end.atMs - LEASE_MS;
  return pausedMs(history, earlier.worker, fromMs, atMs) > 0 || !jumps.wasFair(fromMs, atMs);
}

type MayGoOn = (earlier: Execution, end: End | undefined, atMs: number) => boolean;

function overlaps(
  executions: readonly Execution[],
  ends: ReadonlyMap<string, End>,
  { mayGoOn, tally }: { readonly mayGoOn: MayGoOn; readonly tally: Tally },
): readonly string[] {
  const byRun = Map.groupBy(executions, ({ id }) => `${id.serial}/${id.run}`);
  return [...byRun.values()].flatMap((ofRun) =>
    ofRun.flatMap((earlier) =>
      ofRun
        .filter((later) => later.id.attempt > earlier.id.attempt && later.beganAtMs < earlier.endedAtMs)
        .filter((later) => {
          tally.saw("G4: guests of one run overlap");
          const end = ends.get(attemptKey(earlier.id));
          return end === undefined || end.atMs > later.beganAtMs || !mayGoOn(earlier, end, later.beganAtMs);
        })
        .map(
          (later) => `G4: attempt ${attemptKey(later.id)} began beside ${attemptKey(earlier.id)}, which was not lost`,
        ),
    ),
  );
}

function checkEnd(
  { history, weather, tally }: { readonly history: History; readonly weather: Weather; readonly tally: Tally },
  execution: Execution,
  end: End | undefined,
): readonly string[] {
  const key = attemptKey(execution.id);
  if (execution.endedAtMs === Infinity) return [`G6: the guest of attempt ${key} has not ended`];
  if (end === undefined) return [];
  const lateMs = execution.endedAtMs - end.atMs - pausedMs(history, execution.worker, end.atMs, execution.endedAtMs);
  if (lateMs > 0) tally.saw("G4: a guest ends after its attempt");
  if (lateMs > GUEST_AFTER_END_MS_MAX) {
    return [`G4: the guest of attempt ${key} went on for ${Math.round(lateMs)} ms after the attempt's end`];
  }
  const isToEnd = end.state === "cancelled" && lateMs > 0;
  if (!isToEnd || !weather.wasFairFor(execution.worker, end.atMs, end.atMs + lateMs)) return [];
  tally.saw("G6: a guest ends when it is cancelled");
  if (lateMs > GUEST_AFTER_CANCEL_MS_MAX) {
    return [`G6: the guest of attempt ${key} went on for ${Math.round(lateMs)} ms after it was cancelled`];
  }
  return [];
}

/** How long the worker was stopped, of the time between. */
function pausedMs(history: History, worker: PeerId, fromMs: number, toMs: number): number {
  let sum = 0;
  let since: number | undefined;
  for (const event of history.events) {
    if (event.kind !== "paused" && event.kind !== "resumed") continue;
    if (event.worker !== worker) continue;
    if (event.kind === "paused") since = event.atMs;
    else if (since !== undefined) {
      sum += Math.max(0, Math.min(toMs, event.atMs) - Math.max(fromMs, since));
      since = undefined;
    }
  }
  return sum;
}
