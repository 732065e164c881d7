/**
 * G2: a worker that dies takes its attempts with it, and they do not stay lost for longer than the named grace: the gateway
 * sees the connection close, waits for the worker to come back, and has the run tried again.
 */
import { AWAY_GRACE_MS } from "../../src/base/limits.ts";
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

/** From a worker's death to what the gateway makes of it, besides the grace: the news on its way, and a commit that stalls. */
const NOTICED_LATE_MS_MAX = 1_500;

/** They neither keep the news from the gateway nor the gateway from its work. */
const INNOCENT_FAULTS = /^(kill-worker|fill-disk|sicken-worker|jump-worker-clock|jump-clock|hide-blobs) /;

export function checkRecovery(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  /** Attempts under way, by their runs. */
  const running = new Map<string, { readonly worker: string | undefined; diedAtMs: number | undefined }>();
  /** Guests that had ended by themselves may have left outcomes on the worker's disk: these are waited for. */
  const ended = new Set<string>();
  const weather = new Weather(history, (what) => !INNOCENT_FAULTS.test(what));
  for (const event of history.events) {
    if (event.kind === "guest-ended" && event.outcome !== undefined) ended.add(`${event.id.serial}/${event.id.run}`);
    if (event.kind === "died") {
      for (const [key, attempt] of running) {
        if (attempt.worker === event.worker && !ended.has(key)) attempt.diedAtMs ??= event.atMs;
      }
    }
    if (event.kind !== "run-moved") continue;
    const key = `${event.serial}/${event.run}`;
    const attempt = running.get(key);
    running.delete(key);
    ended.delete(key);
    if (event.to === "running") running.set(key, { worker: event.worker, diedAtMs: undefined });
    if (attempt?.diedAtMs === undefined || event.attemptState !== "lost") continue;
    if (!weather.wasFairFor(event.worker, attempt.diedAtMs, event.atMs)) continue;
    tally.saw("G2: the loss of a worker is noticed soon");
    const lateMs = event.atMs - attempt.diedAtMs;
    if (lateMs <= AWAY_GRACE_MS + NOTICED_LATE_MS_MAX) continue;
    found.push(
      `G2: ${event.task} run ${event.run} was taken for alive for ${Math.round(lateMs)} ms after its worker died`,
    );
  }
  return found;
}
