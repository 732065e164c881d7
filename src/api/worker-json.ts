/** Workers and members of the cluster as JSON. */
import { z } from "zod";
import { KINDS_DEFAULT } from "../model/entry.ts";
import { type Member, WORKER_STATUSES, type WorkerView } from "../model/worker.ts";
import { formatTime } from "./time.ts";

export const workerSchema = z.object({
  id: z.string().describe("Its peer id, or `rpc:<name>`."),
  status: z.enum(WORKER_STATUSES).describe("`pending`: waits to be admitted; only `ready` ones get runs."),
  slots: z.number().describe("Runs at once."),
  busy: z
    .number()
    .describe("Slots in use, by attempts that this gateway knows to be on it. What the worker says lags behind."),
  running: z.number().describe("The same attempts, counted for a worker of any status."),
  offers: z.number().describe("Free slots on offer."),
  weight: z.number().describe("For the pick policy `weighted`."),
  labels: z.record(z.string(), z.string()).describe("What `require` of a task is compared with."),
  version: z.string().describe("Of Capmesh."),
  kinds: z
    .array(z.string())
    .default([...KINDS_DEFAULT])
    .describe("What it can run: values of `entry`."),
  cachedModules: z.array(z.string()).describe("SHA-256 of modules it need not fetch, the latest used first."),
  address: z.string().describe("Where it comes from."),
  connectedAt: z.string().describe("Since when."),
  lastSeenAt: z.string().describe("When it last said something."),
  note: z.string().nullable().describe("Why it gets no runs, and what an operator can do. Null: nothing."),
});

export const memberSchema = z.object({
  id: z.string().describe("Its peer id."),
  role: z.enum(["gateway", "worker", "both"]).describe("What it is."),
  version: z.string().describe("Of Capmesh."),
  slots: z.number().describe("Runs at once; 0 of a gateway alone."),
  busy: z.number().describe("Slots in use, as it says."),
  labels: z.record(z.string(), z.string()).describe("Its labels."),
  addresses: z.array(z.string()).describe("Where it listens."),
  startedAt: z.string().describe("When its process started."),
  lastSeenAt: z.string().describe("When it was last heard of."),
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
    kinds: [...(state.kinds ?? KINDS_DEFAULT)],
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
