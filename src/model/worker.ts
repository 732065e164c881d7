/** What is known of a worker. It is what the worker says of itself, shown and used to pick; it grants nothing. */
import type { Digest, PeerId } from "../base/ids.ts";
import { type Entry, KINDS_DEFAULT, isWasmEntry } from "./entry.ts";
import type { TaskSpec } from "./task.ts";

export interface WorkerState {
  readonly slots: number;
  readonly busy: number;
  /** For the `weighted` pick policy. */
  readonly weight: number;
  /** `BUILT_IN_LABELS` are always there. */
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  /** What it can run. Default: the entries of WebAssembly. */
  readonly kinds?: readonly Entry[] | undefined;
  /** Most recently used first. */
  readonly cachedModules: readonly Digest[];
}

/** Labels that a worker has by itself. */
export const BUILT_IN_LABELS = ["peer", "host", "os", "arch"] as const;

export type PickPolicy = "random" | "round-robin" | "least-loaded" | "weighted" | "locality";

export const PICK_POLICIES: readonly PickPolicy[] = ["random", "round-robin", "least-loaded", "weighted", "locality"];

/**
 * - `pending`: has asked to join, and an operator has to admit it.
 * - `ready`: has a session and takes runs.
 * - `draining`: has a session and takes no more runs: it has said so, or an operator has.
 * - `quarantined`: has a session, and fails what others run: it is given a run now and then, to see.
 * - `away`: had a session and attempts under way, and may yet come back for them.
 */
export const WORKER_STATUSES = ["pending", "ready", "draining", "quarantined", "away"] as const;
export type WorkerStatus = (typeof WORKER_STATUSES)[number];

/** A worker as the gateway sees it. */
export interface WorkerView {
  readonly id: PeerId;
  readonly status: WorkerStatus;
  readonly state: WorkerState;
  /** Attempts that the gateway knows to be on it. */
  readonly running: number;
  /** Free slots on offer. */
  readonly offers: number;
  readonly address: string;
  readonly connectedAt: number;
  readonly lastSeenAt: number;
  /** It is left alone for some seconds, as it has lost one attempt after the other. */
  readonly isResting?: boolean | undefined;
  /** Why it gets no runs, and what an operator can do. */
  readonly note?: string | undefined;
}

/** A member of the cluster as gossip shows it. */
export interface Member {
  readonly id: PeerId;
  readonly role: "gateway" | "worker" | "both";
  readonly version: string;
  readonly slots: number;
  readonly busy: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly startedAt: number;
  readonly lastSeenAt: number;
}

/** What a task asks of the worker that runs it: labels that it has been given, and what it can run. */
export type Requirements = Pick<TaskSpec, "require" | "entry">;

/** All that is asked for holds. */
export function meetsRequirements(
  { labels, kinds = KINDS_DEFAULT }: Pick<WorkerState, "labels" | "kinds">,
  { require, entry }: Requirements,
): boolean {
  return kinds.includes(entry) && hasLabels(labels, require);
}

export function hasLabels(
  labels: Readonly<Record<string, string>>,
  required: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(required).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

/**
 * The same text for the same requirements, whatever their order; empty for none but WebAssembly, whose entries count as
 * one. No label can make the key of a kind: theirs are JSON.
 */
export function requirementKey({ require, entry }: Requirements): string {
  const keys = Object.keys(require);
  const kind = isWasmEntry(entry) ? "" : `${entry} `;
  if (keys.length === 0) return kind;
  return kind + JSON.stringify(keys.sort().map((key) => [key, require[key]]));
}
