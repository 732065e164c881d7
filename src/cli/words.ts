/** Small things as people read them: ages, peers, outcomes. */
import { reasonInWords } from "../api/reason-words.ts";
import type { RunJson } from "../api/run-json.ts";
import type { Tone } from "./table.ts";

/** A task in one of these changes no more. */
export const TASK_END_STATES: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

const TONES: ReadonlyMap<string, Tone> = new Map([
  ["succeeded", "good"],
  ["failed", "bad"],
  ["running", "busy"],
]);

/** Of a task or a run. */
export function stateTone(state: string): Tone | undefined {
  return TONES.get(state);
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago an RFC 3339 time is, in its largest unit. */
export function ageText(time: string, now: number): string {
  const ageMs = Math.max(0, now - Date.parse(time));
  if (ageMs >= 2 * DAY) return `${Math.floor(ageMs / DAY)}d`;
  if (ageMs >= 2 * HOUR) return `${Math.floor(ageMs / HOUR)}h`;
  if (ageMs >= 2 * MINUTE) return `${Math.floor(ageMs / MINUTE)}m`;
  return `${Math.floor(ageMs / SECOND)}s`;
}

/** Of a table's column of peer ids: cut to what `shortPeer` shows, and taken like that by `chooseWorker`. */
export const PEER_COLUMN = { isFlexible: true, keepsEnd: true, widthMin: 9 } as const;

/** Peer ids begin alike; their ends tell them apart. */
export function shortPeer(id: string | undefined): string {
  if (id === undefined) return "-";
  return id.length > 16 ? `…${id.slice(-8)}` : id;
}

export function outcomeText(run: RunJson): string {
  const { outcome, result } = run;
  if (outcome === null) return "-";
  if (outcome.kind === "exited") {
    return result?.value === undefined ? `exit code ${outcome.code ?? "unknown"}` : `value ${result.value}`;
  }
  return outcome.reason === undefined ? outcome.kind : `${outcome.kind}: ${reasonInWords(outcome.reason)}`;
}

export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .filter(([key]) => key !== "peer")
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}
