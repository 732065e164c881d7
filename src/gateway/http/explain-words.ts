/** The words that explanations are made of. */
import type { ReasonCode, ReasonJson } from "../../api/explanation.ts";
import type { PeerId } from "../../base/ids.ts";
import { EXPLAINED_ITEMS_MAX } from "../../base/limits.ts";
import type { WorkerView } from "../../model/worker.ts";

export function reasonOf(code: ReasonCode, message: string, facts: Readonly<Record<string, unknown>> = {}): ReasonJson {
  return { code, message, ...facts };
}

const NAME_LENGTH = 12;

/** By its host where that is known, and the end of its id. */
export function nameOf(id: PeerId, worker: WorkerView | undefined): string {
  const host = worker?.state.labels["host"];
  const short = id.length > NAME_LENGTH ? `…${id.slice(-8)}` : id;
  return host === undefined ? `worker ${short}` : `worker ${short} (${host})`;
}

export function list(items: readonly string[]): string {
  const shown = items.slice(0, EXPLAINED_ITEMS_MAX);
  const more = items.length > shown.length ? ` and ${items.length - shown.length} more` : "";
  return `${shown.join(", ")}${more}`;
}

export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 1) return `${Math.round(seconds * 1_000)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
