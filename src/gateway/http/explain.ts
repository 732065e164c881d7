/**
 * Why a task is where it is: a pure function of what the store knows of it and of the workers that are there. Every reason
 * is a sentence that a person can act on, and the same as data.
 */
import type { ExplanationJson, ReasonJson } from "../../api/explanation.ts";
import { reasonInWords } from "../../api/reason-words.ts";
import { formatTime } from "../../api/time.ts";
import { assertNever } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { EXPLAINED_ITEMS_MAX, LOST_ATTEMPTS_MAX } from "../../base/limits.ts";
import { parseCron } from "../../model/cron.ts";
import { type Task, isFinished } from "../../model/task.ts";
import { type Entry, KINDS_DEFAULT, isWasmEntry } from "../../model/entry.ts";
import { type WorkerView, hasLabels, meetsRequirements } from "../../model/worker.ts";
import type { OpenRun, TaskInspection } from "../../store/inspection.ts";
import { duration, list, nameOf, reasonOf } from "./explain-words.ts";

export interface ExplainInput {
  readonly inspection: TaskInspection;
  readonly workers: readonly WorkerView[];
  /** Why the gateway, or its store, starts nothing now. */
  readonly gatewayTrouble?: string | undefined;
  readonly storeTrouble?: string | undefined;
  /** How long a ready run still waits for a module or file that could not be read; undefined if it does not. */
  readonly blobWaitMs?: ((run: OpenRun) => number | undefined) | undefined;
  readonly now: number;
}

export function explain(input: ExplainInput): ExplanationJson {
  const { task } = input.inspection;
  const reasons = isFinished(task.state) ? [finishedReason(input.inspection)] : openReasons(input);
  return { task: task.spec.id, state: task.state, reasons };
}

function finishedReason(inspection: TaskInspection): ReasonJson {
  const { task } = inspection;
  const { state, reason, finishedAt = task.createdAt } = task;
  const why = reason === undefined ? "" : `: ${reasonInWords(reason)}`;
  const at = formatTime(finishedAt);
  const what =
    state === "succeeded"
      ? "all its runs have succeeded"
      : `it ${state === "failed" ? "has failed" : "was cancelled"}${why}`;
  const hint = state === "succeeded" ? "" : `; ${retryHint(inspection)}`;
  return reasonOf("finished", `It has finished at ${at}: ${what}${hint}.`, {
    state,
    finishedAt: at,
    reason: reason ?? null,
  });
}

/** What would be accepted: no retry of a task is while one that it runs after has come to a bad end. */
function retryHint({ task: { spec }, waitsFor }: TaskInspection): string {
  const retry = `POST /tasks/${spec.id}/retry`;
  if (waitsFor.some(({ state }) => state === "deleted")) return "submit it anew, without the task that was deleted";
  const broken = waitsFor.flatMap(({ id, state }) => (state === "failed" || state === "cancelled" ? (id ?? []) : []));
  if (broken.length > 0) return `retry ${list(broken)} first, then ${retry} runs what did not succeed again`;
  const open = waitsFor.flatMap(({ id, state }) => (state === "succeeded" ? [] : (id ?? [])));
  return open.length > 0 ? `${retry} lets it wait for ${list(open)} again` : `${retry} runs what did not succeed again`;
}

function openReasons(input: ExplainInput): ReasonJson[] {
  const { inspection } = input;
  if (inspection.waitsFor.length > 0) return dependencyReasons(inspection);
  const running = inspection.openRuns.filter(({ state }) => state === "running");
  const ready = inspection.openRuns.filter(({ state }) => state === "ready");
  const backingOff = ready.filter(({ notBefore }) => notBefore > input.now);
  const waiting = ready.filter(({ notBefore }) => notBefore <= input.now);
  return [
    ...(waiting.length > 0 ? readyReasons(input, waiting) : []),
    ...backingOff.map((run) =>
      run.cancelledOn === undefined ? backoffReason(run, input.now) : leaseReason(run, run.cancelledOn, input),
    ),
    ...running.map((run) => runningReason(inspection.task, run, input)),
    ...ready.flatMap(lostReasons),
    ...nextRunReasons(input),
  ];
}

function dependencyReasons({ waitsFor, unmetCount }: TaskInspection): ReasonJson[] {
  const reasons = waitsFor.map(({ id, state }) => {
    const named = id ?? "a task that was deleted";
    const message =
      state === "deleted" || isFinished(state)
        ? `It runs after ${named}, which has ended (${state}): that is about to be seen to.`
        : `It runs after ${named}, which is ${state}: GET /tasks/${named}/explain says why.`;
    return reasonOf("dependency", message, { task: id ?? null, state });
  });
  const more = unmetCount - waitsFor.length;
  if (more > 0)
    reasons.push(reasonOf("dependency", `It runs after ${more} more that have not succeeded yet.`, { count: more }));
  return reasons;
}

function backoffReason(run: OpenRun, now: number): ReasonJson {
  const until = formatTime(run.notBefore);
  const why = run.lastOutcome === undefined ? "failed" : `ended as ${run.lastOutcome.kind}`;
  return reasonOf(
    "backoff",
    `Attempt ${run.attempt} of run ${run.index} ${why}: it is tried again at ${until}, in ${duration(run.notBefore - now)}.`,
    { run: run.index, attempt: run.attempt, until, outcome: run.lastOutcome?.kind ?? null },
  );
}

function leaseReason(run: OpenRun, worker: PeerId, { workers, now }: ExplainInput): ReasonJson {
  const until = formatTime(run.notBefore);
  const where = nameOf(
    worker,
    workers.find(({ id }) => id === worker),
  );
  return reasonOf(
    "lease",
    `Run ${run.index} is to run again; attempt ${run.attempt} of it was cancelled, and ${where} has not said that it is over: the next one begins when that has, or at ${until}, in ${duration(run.notBefore - now)}, when its lease has ended.`,
    { run: run.index, attempt: run.attempt, worker, until },
  );
}

function runningReason({ spec }: Task, run: OpenRun, { workers, now }: ExplainInput): ReasonJson {
  const { worker, startedAt = now } = run;
  const known = workers.find(({ id }) => id === worker);
  const where = worker === undefined ? "a worker" : nameOf(worker, known);
  const away =
    known === undefined || known.status === "away"
      ? ", which is not connected: it may come back, or the run is tried elsewhere"
      : "";
  return reasonOf(
    "running",
    `Attempt ${run.attempt} of run ${run.index} is under way on ${where}${away}, for ${duration(now - startedAt)} of at most ${duration(spec.timeoutMs)}.`,
    {
      run: run.index,
      attempt: run.attempt,
      worker: worker ?? null,
      startedAt: formatTime(startedAt),
      elapsed: (now - startedAt) / 1_000,
      timeout: spec.timeoutMs / 1_000,
    },
  );
}

function lostReasons(run: OpenRun): readonly ReasonJson[] {
  if (run.lost === 0) return [];
  const attempts = run.lost === 1 ? "1 attempt" : `${run.lost} attempts`;
  return [
    reasonOf(
      "lost",
      `${attempts} of run ${run.index} took their worker or runner down: with ${LOST_ATTEMPTS_MAX} it fails as poisoned.`,
      { run: run.index, lost: run.lost, most: LOST_ATTEMPTS_MAX, workers: [...run.lostOn] },
    ),
  ];
}

function nextRunReasons({ inspection, now, storeTrouble }: ExplainInput): readonly ReasonJson[] {
  const { task, openRuns } = inspection;
  const { nextRunAt, spec } = task;
  if (nextRunAt === undefined) return [];
  const dueAt = formatTime(nextRunAt);
  const scheduled = openRuns.find(({ state }) => state === "scheduled");
  if (scheduled !== undefined) {
    const slot = spec.cron === undefined ? "" : ` (${spec.cron}, ${spec.timezone})`;
    const facts = { run: scheduled.index, dueAt, cron: spec.cron ?? null };
    if (storeTrouble !== undefined && nextRunAt <= now) {
      const stuck = `Run ${scheduled.index} was due at ${dueAt}${slot}, and nothing is started now: ${storeTrouble}.`;
      const later = spec.cron === undefined ? "" : ` Slots that come meanwhile are missed: catchup=${spec.catchup}.`;
      return [reasonOf("store", `${stuck}${later}`, facts)];
    }
    const left = nextRunAt > now ? `, in ${duration(nextRunAt - now)}` : ", that is now";
    const due = `Run ${scheduled.index} is due at ${dueAt}${slot}${left}.`;
    const passedOver = firstSlotPassedOver(task, now);
    if (passedOver === undefined) return [reasonOf("time", due, facts)];
    const from = formatTime(passedOver);
    const why = `Slots from ${from} on are passed over: they have fired already, before the gateway's clock was put back, and each fires once.`;
    return [reasonOf("time", `${due} ${why}`, { ...facts, passedOverFrom: from })];
  }
  const last = openRuns.at(-1)?.index ?? 0;
  const message = `Run ${last + 1} is due at ${dueAt}, but not before run ${last} has ended: overlap is forbidden.`;
  return [reasonOf("overlap", message, { run: last + 1, dueAt, after: last })];
}

/** A slot between now and the next run's: it has fired by a clock that was ahead, or the run would be there. */
function firstSlotPassedOver({ spec, nextRunAt }: Task, now: number): number | undefined {
  if (spec.cron === undefined || nextRunAt === undefined) return undefined;
  const cron = parseCron(spec.cron, spec.timezone);
  const slot = cron.ok ? cron.schedule.next(now) : undefined;
  return slot !== undefined && slot < nextRunAt ? slot : undefined;
}

/** Why runs that could start have not. */
function readyReasons(input: ExplainInput, ready: readonly OpenRun[]): readonly ReasonJson[] {
  const [first] = ready;
  if (first === undefined) return [];
  const { subject, facts: run } = readyOnes(first, ready.length);
  if (input.gatewayTrouble !== undefined) {
    return [reasonOf("gateway", `${subject}, and nothing is started now: ${input.gatewayTrouble}.`, run)];
  }
  if (input.storeTrouble !== undefined) {
    return [reasonOf("store", `${subject}, and nothing is started now: ${input.storeTrouble}.`, run)];
  }
  const waits = ready.map((each) => ({ run: each, waitMs: input.blobWaitMs?.(each) }));
  const resting = waits.flatMap(({ run: each, waitMs }) => (waitMs === undefined ? [] : { run: each, waitMs }));
  const [next, ...others] = waits.flatMap((each) => (each.waitMs === undefined ? each.run : []));
  const unreadable = unreadableReasons(input, resting);
  return next === undefined
    ? unreadable
    : [...unreadable, workerReason(input, next, readyOnes(next, 1 + others.length))];
}

/** Runs that are told of together. */
interface ReadyOnes {
  readonly subject: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

function readyOnes({ index }: OpenRun, count: number): ReadyOnes {
  const subject = count === 1 ? `Run ${index} is ready` : `${count} runs are ready, from run ${index} on`;
  return { subject, facts: { run: index, ready: count } };
}

/** Of runs that need what could not be read: the first of them to be tried again is told of. */
function unreadableReasons(
  { now }: ExplainInput,
  resting: readonly { readonly run: OpenRun; readonly waitMs: number }[],
): readonly ReasonJson[] {
  const [first] = resting;
  if (first === undefined) return [];
  const { subject, facts } = readyOnes(first.run, resting.length);
  const waitMs = Math.min(...resting.map((each) => each.waitMs));
  const until = formatTime(now + waitMs);
  const message = `${subject}; the gateway could not read its module, or a file that it needs, and tries again at ${until}, in ${duration(waitMs)}: the gateway's log says which. Submitting it again mends it.`;
  return [reasonOf("unreadable", message, { ...facts, until })];
}

function workerReason({ inspection, workers }: ExplainInput, run: OpenRun, { subject, facts }: ReadyOnes): ReasonJson {
  const { require, entry } = inspection.task.spec;
  const connected = workers.filter(({ status }) => status !== "pending" && status !== "away");
  if (connected.length === 0) return noWorker(workers, subject, facts);
  const fitting = connected.filter(({ state }) => meetsRequirements(state, { require: {}, entry }));
  if (fitting.length === 0) return noKind(connected, entry, subject, facts);
  const capable = fitting.filter(({ state }) => hasLabels(state.labels, require));
  if (capable.length === 0) return noLabel(fitting, require, subject, facts);
  const usable = capable.filter((worker) => heldBack(worker) === undefined);
  if (usable.length === 0) return allHeldBack(capable, subject, facts);
  const free = usable.filter(({ offers }) => offers > 0);
  if (free.length > 0 && free.every(({ id }) => run.lostOn.includes(id)) && free.length < usable.length) {
    const names = list(free.map((worker) => nameOf(worker.id, worker)));
    return reasonOf(
      "untried",
      `${subject}; it was lost on ${names}, and waits a while for a worker that has not been tried.`,
      {
        ...facts,
        lostOn: [...run.lostOn],
      },
    );
  }
  if (free.length > 0) {
    const names = list(free.map((worker) => nameOf(worker.id, worker)));
    const freeSlots = free.reduce((sum, { offers }) => sum + offers, 0);
    const { readyAhead } = inspection;
    if (readyAhead >= freeSlots) {
      const slots = freeSlots === 1 ? "1 free slot" : `${freeSlots} free slots`;
      return reasonOf("slot", `${subject}; ${runsAhead(inspection)}, for ${slots} of ${names}.`, {
        ...facts,
        workers: usable.length,
        slots: freeSlots,
        ahead: readyAhead,
      });
    }
    const { lastOutcome } = run;
    const before = lastOutcome?.kind === "lost" ? ` Its latest attempt was lost: ${lastOutcome.reason}.` : "";
    return reasonOf("starting", `${subject}, and ${names} has a free slot: it is about to be started.${before}`, facts);
  }
  return noSlot(inspection, usable, subject, facts);
}

function noWorker(
  workers: readonly WorkerView[],
  subject: string,
  facts: Readonly<Record<string, unknown>>,
): ReasonJson {
  const pending = workers.filter(({ status }) => status === "pending").map(({ id }) => id);
  const hint =
    pending.length === 0
      ? "start one with `capmesh --dial <gateway>`"
      : `${pending.length} ${pending.length === 1 ? "waits" : "wait"} to be admitted: \`capmesh worker admit ${pending[0] ?? ""}\``;
  return reasonOf("no-worker", `${subject}, and no worker is connected: ${hint}.`, { ...facts, pending });
}

function noKind(
  workers: readonly WorkerView[],
  entry: Entry,
  subject: string,
  facts: Readonly<Record<string, unknown>>,
): ReasonJson {
  const kinds = Array.from(new Set(workers.flatMap(({ state }) => state.kinds ?? KINDS_DEFAULT))).toSorted();
  const hint = isWasmEntry(entry)
    ? "start one with `capmesh --dial <gateway>`"
    : "start one that has it (capmesh/worker)";
  return reasonOf(
    "entry",
    `${subject}, and no connected worker runs entry=${entry}; there are workers for ${list(kinds)}: ${hint}.`,
    { ...facts, entry, kinds },
  );
}

interface MissingLabel {
  readonly label: string;
  readonly wanted: string;
  readonly has: string | null;
}

function noLabel(
  workers: readonly WorkerView[],
  require: Readonly<Record<string, string>>,
  subject: string,
  facts: Readonly<Record<string, unknown>>,
): ReasonJson {
  const [closest] = workers
    .map((worker) => ({ worker, missing: missingLabels(worker, require) }))
    .toSorted((one, other) => one.missing.length - other.missing.length);
  const wanted = Object.entries(require).map(([label, value]) => `${label}=${value}`);
  const near =
    closest === undefined
      ? ""
      : `; the closest is ${nameOf(closest.worker.id, closest.worker)}, where ${list(closest.missing.map(missingText))}`;
  return reasonOf("label", `${subject}, and no connected worker has ${list(wanted)}${near}.`, {
    ...facts,
    require: { ...require },
    closest: closest === undefined ? null : { worker: closest.worker.id, missing: closest.missing },
  });
}

function missingLabels({ state }: WorkerView, require: Readonly<Record<string, string>>): readonly MissingLabel[] {
  return Object.entries(require).flatMap(([label, wanted]) => {
    const has = Object.hasOwn(state.labels, label) ? (state.labels[label] ?? null) : null;
    return has === wanted ? [] : [{ label, wanted, has }];
  });
}

function missingText({ label, has }: MissingLabel): string {
  return has === null ? `${label} is not set` : `${label} is ${has}`;
}

/** Why a worker is given no runs; undefined if it is. */
function heldBack({ status, isResting = false }: WorkerView): string | undefined {
  switch (status) {
    case "draining":
      return "drains";
    case "quarantined":
      return "is in quarantine";
    case "ready":
      return isResting ? "rests after it lost attempts" : undefined;
    case "pending":
    case "away":
      return "is not connected";
    default:
      return assertNever(status);
  }
}

function allHeldBack(
  capable: readonly WorkerView[],
  subject: string,
  facts: Readonly<Record<string, unknown>>,
): ReasonJson {
  const shown = capable.slice(0, EXPLAINED_ITEMS_MAX);
  const each = shown.map((worker) => {
    const note = worker.note === undefined ? "" : ` (${worker.note})`;
    return `${nameOf(worker.id, worker)} ${heldBack(worker) ?? ""}${note}`;
  });
  return reasonOf("worker", `${subject}, and those who could take it are given no runs now: ${list(each)}.`, {
    ...facts,
    workers: shown.map((worker) => ({ id: worker.id, status: worker.status, resting: worker.isResting ?? false })),
  });
}

/** "3 ready runs come", of those before a run. */
function runsAhead({ readyAhead, isMoreAhead }: TaskInspection): string {
  return `${isMoreAhead ? "more than " : ""}${readyAhead} ready ${readyAhead === 1 ? "run comes" : "runs come"} before it`;
}

function noSlot(
  inspection: TaskInspection,
  usable: readonly WorkerView[],
  subject: string,
  facts: Readonly<Record<string, unknown>>,
): ReasonJson {
  const slots = usable.reduce((sum, { state }) => sum + state.slots, 0);
  const who = usable.length === 1 ? "the one worker" : `all ${usable.length} workers`;
  const ahead = inspection.readyAhead === 0 ? "it is the first in line" : runsAhead(inspection);
  return reasonOf(
    "slot",
    `${subject}; ${who} that can take it ${usable.length === 1 ? "has" : "have"} no free slot of ${slots}, and ${ahead}.`,
    {
      ...facts,
      workers: usable.length,
      slots,
      ahead: inspection.readyAhead,
    },
  );
}
