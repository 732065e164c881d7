/** Workers and members of the cluster as JSON. */
import { z } from "zod";
import { type Member, WORKER_STATUSES, type WorkerView } from "../model/worker.ts";
import { formatTime } from "./time.ts";

export const workerSchema = z.object({
  id: z.string(),
  status: z.enum(WORKER_STATUSES),
  slots: z.number(),
  /** Slots in use: by attempts that this gateway knows to be on it. What the worker says lags behind. */
  busy: z.number(),
  /** The same attempts, counted for a worker of any status. */
  running: z.number(),
  /** Free slots on offer. */
  offers: z.number(),
  weight: z.number(),
  labels: z.record(z.string(), z.string()),
  version: z.string(),
  cachedModules: z.array(z.string()),
  address: z.string(),
  connectedAt: z.string(),
  lastSeenAt: z.string(),
  /** Why it gets no runs, and what an operator can do. Null: nothing. */
  note: z.string().nullable(),
});

export const memberSchema = z.object({
  id: z.string(),
  role: z.enum(["gateway", "worker", "both"]),
  version: z.string(),
  slots: z.number(),
  busy: z.number(),
  labels: z.record(z.string(), z.string()),
  addresses: z.array(z.string()),
  startedAt: z.string(),
  lastSeenAt: z.string(),
});

export type WorkerJson = z.infer<typeof workerSchema>;
export type MemberJson = z.infer<typeof memberSchema>;

export function workerJson(view: WorkerView): WorkerJson {
  const { state } = view;
  return {
    id: view.id,
    status: view.status,
    slots: state.slots,
    busy: view.running,
    running: view.running,
    offers: view.offers,
    weight: state.weight,
    labels: { ...state.labels },
    version: state.version,
    cachedModules: [...state.cachedModules],
    address: view.address,
    connectedAt: formatTime(view.connectedAt),
    lastSeenAt: formatTime(view.lastSeenAt),
    note: view.note ?? null,
  };
}

export function memberJson(member: Member): MemberJson {
  return {
    id: member.id,
    role: member.role,
    version: member.version,
    slots: member.slots,
    busy: member.busy,
    labels: { ...member.labels },
    addresses: [...member.addresses],
    startedAt: formatTime(member.startedAt),
    lastSeenAt: formatTime(member.lastSeenAt),
  };
}
