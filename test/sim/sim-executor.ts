/**
 * Runs simulated guests for one worker process. They are processes of their own: they go on while the worker is stopped,
 * and end a moment after it was killed.
 */
import type { PeerId } from "../../src/base/ids.ts";
import { type AttemptEnd, NO_USAGE, type Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { Random } from "../../src/base/random.ts";
import type { Executor, GuestIo, GuestSpec } from "../../src/worker/guest.ts";
import { type GuestPlan, SICK_MACHINE, digestOf, guestBytes, guestFileBytes, guestPlan } from "./guest-plan.ts";
import type { GuestEvent } from "./history.ts";
import type { Sickness } from "./scenario-faults.ts";
import type { SimDisk } from "./sim-files.ts";
import type { SimProcess } from "./sim-process.ts";

/** Of a worker's machine, over its processes. */
export interface MachineHealth {
  sickness: Sickness | undefined;
}

export interface SimExecutorInit {
  readonly process: SimProcess;
  readonly disk: SimDisk;
  readonly health: MachineHealth;
  readonly worker: PeerId;
  readonly random: Random;
  readonly record: (event: GuestEvent) => void;
}

/** How long a guest may live on after it is told to end: within the 100 ms that are promised. */
const KILL_MS_MAX = 60;

export class SimExecutor implements Executor {
  readonly #init: SimExecutorInit;
  readonly #guests = new Set<SimGuest>();

  constructor(init: SimExecutorInit) {
    this.#init = init;
    init.process.onKilled(() => this.#guests.forEach((guest) => guest.kill(undefined)));
  }

  /** Guests that have not ended. */
  get active(): number {
    return this.#guests.size;
  }

  async run(spec: GuestSpec, io: GuestIo, { signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    const { promise, resolve } = Promise.withResolvers<AttemptEnd>();
    const id = parseAttemptId(spec);
    const guest = new SimGuest({ ...this.#init, id, spec, io, plan: guestPlan(spec.args, id) }, (end) => {
      this.#guests.delete(guest);
      this.#init.process.deliver(() => resolve(end));
    });
    this.#guests.add(guest);
    guest.begin();
    io.onBegun?.();
    const onAbort = (): void => guest.kill(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  close(): Promise<void> {
    this.#guests.forEach((guest) => guest.kill("the executor was closed"));
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface SimGuestInit extends SimExecutorInit {
  readonly id: AttemptId;
  readonly spec: GuestSpec;
  readonly io: GuestIo;
  readonly plan: GuestPlan;
}

class SimGuest {
  readonly #init: SimGuestInit;
  readonly #onEnd: (end: AttemptEnd) => void;
  #state: "starting" | "running" | "ended" = "starting";
  #isBeingKilled = false;
  #beganAtMs = 0;
  #next: Disposable | undefined;
  #written = 0;

  constructor(init: SimGuestInit, onEnd: (end: AttemptEnd) => void) {
    this.#init = init;
    this.#onEnd = onEnd;
  }

  begin(): void {
    const { process, random, record, worker, id } = this.#init;
    this.#next = process.loop.after(0.2 + 5 * random.next(), () => {
      // With its worker's power, what it was to find may be gone.
      if (process.isDead) return this.#end({ kind: "cancelled", reason: "its worker is gone" }, { wasKilled: true });
      this.#state = "running";
      this.#beganAtMs = process.loop.nowMs;
      record({ kind: "guest-began", worker, id, files: this.#foundFiles() });
      this.#step(0);
    });
  }

  /** The host ends it, or its worker is gone. It may do a little more until then. */
  kill(reason: unknown): void {
    if (this.#state === "ended" || this.#isBeingKilled) return;
    this.#isBeingKilled = true;
    const { process, random } = this.#init;
    process.loop.after(KILL_MS_MAX * random.next(), () =>
      this.#end({ kind: "cancelled", reason: String(reason) }, { wasKilled: true }),
    );
  }

  /** Carries out the plan from its `index`-th write on. */
  #step(index: number): void {
    if (this.#state === "ended") return;
    const { process, plan, io, id, spec } = this.#init;
    const write = plan.writes[index];
    const atMs = write?.atMs ?? plan.ms;
    this.#next = process.loop.after(this.#beganAtMs + atMs - process.loop.nowMs, () => {
      if (write === undefined) return this.#end(this.#ownOutcome(), { wasKilled: false });
      const from = this.#written;
      this.#written += write.bytes;
      const to = Math.min(this.#written, spec.outputBytesMax);
      const goOn = (): void => {
        const isOver = this.#written > spec.outputBytesMax && spec.outputLimit === "fail";
        if (isOver) this.#end({ kind: "output-exceeded" }, { wasKilled: false });
        else this.#step(index + 1);
      };
      if (to <= from) return goOn();
      const bytes = guestBytes(id, from, to);
      // A worker that does not take it lets the guest wait.
      process.deliver(() => void io.write(write.stream, bytes).then(goOn));
    });
  }

  #ownOutcome(): Outcome {
    switch (this.#init.health.sickness) {
      case undefined:
        return this.#init.plan.outcome;
      case "lost":
        return { kind: "lost", reason: SICK_MACHINE };
      case "trapped":
        return { kind: "trapped", reason: SICK_MACHINE };
    }
  }

  #end(outcome: Outcome, { wasKilled }: { readonly wasKilled: boolean }): void {
    if (this.#state === "ended") return;
    const { record, worker, id, spec, process } = this.#init;
    this.#next?.[Symbol.dispose]();
    const hasBegun = this.#state === "running";
    this.#state = "ended";
    if (hasBegun) record({ kind: "guest-ended", worker, id, outcome: wasKilled ? undefined : outcome });
    const outputTruncated = this.#written > spec.outputBytesMax;
    const end = { outcome, usage: NO_USAGE, outputBytes: this.#written, outputTruncated };
    if (outcome.kind !== "exited" || wasKilled) return this.#onEnd(end);
    process.deliver(() => {
      void this.#keepFiles().then(
        () => this.#onEnd(end),
        (error: unknown) => this.#onEnd({ ...end, outcome: { kind: "lost", reason: String(error) } }),
      );
    });
  }

  #foundFiles(): readonly FileContent[] {
    const { spec, disk } = this.#init;
    return spec.files.map(({ path, contentPath }) => {
      const content = disk.contentOf(contentPath);
      return { path, digest: digestOf(content), bytes: content.length };
    });
  }

  /** What it has left in its folder is handed over, as a runner does. */
  async #keepFiles(): Promise<void> {
    const { spec, io, id } = this.#init;
    if (spec.outputs.length === 0) return;
    for (const { path, content } of guestFileBytes(spec.args, id)) {
      await io.keep?.({ path, bytes: content.length, content: inPieces(content) });
    }
  }
}

async function* inPieces(content: Uint8Array): AsyncGenerator<Uint8Array, void> {
  const half = content.length >> 1;
  for (const piece of [content.subarray(0, half), content.subarray(half)]) {
    await Promise.resolve();
    if (piece.length > 0) yield piece;
  }
}

/** The worker hands its whole spec on, the name of the attempt in it, though an executor need not know. */
function parseAttemptId(spec: GuestSpec): AttemptId {
  if (spec.id === undefined) throw new Error("a guest's spec no longer says which attempt it is for");
  return spec.id;
}
