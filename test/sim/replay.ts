/** One seed, told in full: what happened and what was logged, in the order of time, and what it broke. */
import { simulate } from "./simulate.ts";

export interface Replay {
  readonly lines: readonly string[];
  readonly breaches: readonly string[];
}

export async function replay(seed: number): Promise<Replay> {
  const told: { readonly atMs: number; readonly text: string }[] = [];
  const { history, second, breaches } = await simulate(seed, {
    onLog: (text) => told.push({ atMs: Number(text.split(" ", 1)[0]), text: `log ${text}` }),
  });
  for (const { atMs, ...event } of [...history.events, ...(second?.events ?? [])]) {
    told.push({ atMs, text: `${event.kind} ${atMs.toFixed(2)} ${JSON.stringify({ ...event, kind: undefined })}` });
  }
  const lines = told.toSorted((a, b) => a.atMs - b.atMs).map(({ text }) => text);
  return { lines: [...lines, ...breaches.map((breach) => `BROKEN ${breach}`)], breaches };
}
