/**
 * Those who use the cluster: they submit, cancel, retry and delete tasks, and drain workers, as the API would for them. Of a
 * gateway that dies meanwhile they hear nothing; some ask again then, with the key by which they are known again.
 */
import type { SubmissionKey } from "../../src/store/store.ts";
import { ClusterError, messageOf } from "../../src/base/errors.ts";
import { type Digest, type PeerId, type TaskId, parseTaskId } from "../../src/base/ids.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import type { ModuleInspection } from "../../src/model/module.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import type { BlobStore } from "../../src/store/blobs.ts";
import { INSPECTION } from "../store/store-samples.ts";
import type { EventLoop } from "./event-loop.ts";
import type { ClientEvent, Complaint } from "./history.ts";
import type { SimGateway } from "./sim-gateway.ts";

/** A task to submit, and the module it needs. `spec.firstDueAt` counts from the moment of the submission. */
export interface ClientOrder {
  readonly spec: TaskSpec;
  readonly module: Upload;
  /** The module and the files that go with it. */
  readonly blobs: readonly Upload[];
}

interface Upload {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

export interface SimClientInit {
  readonly loop: EventLoop;
  readonly gateway: SimGateway;
  readonly blobs: BlobStore;
  readonly record: (event: ClientEvent | Complaint) => void;
}

/** Clients that ask again: after so long without an answer, and so often. */
const ASK_AGAIN_MS = 4_000;
const ASKS_MAX = 4;

export class SimClient {
  readonly #init: SimClientInit;
  #keys = 0;
  #batches = 0;
  #isGone = false;

  constructor(init: SimClientInit) {
    this.#init = init;
  }

  submit(order: ClientOrder, manner: { readonly isRepeated: boolean; readonly losesAnswer: boolean }): void {
    if (!manner.isRepeated) return this.#submit(order, undefined);
    this.#keys += 1;
    const number = this.#keys;
    const key = `key-${number}`;
    let isAnswered = false;
    const ask = (count: number): void => {
      if (isAnswered || this.#isGone || count > ASKS_MAX) return;
      // Whoever names no id gets another one each time.
      const id = parseTaskId(`${order.spec.id}.${number}.${count}`) ?? order.spec.id;
      this.#submit({ ...order, spec: { ...order.spec, id } }, key, (answer) => {
        if (count === 1 && manner.losesAnswer) return;
        isAnswered ||= answer === "created" || answer === "repeated" || answer === "bad-dependencies";
      });
      this.#init.loop.after(ASK_AGAIN_MS, () => ask(count + 1));
    };
    ask(1);
  }

  batch(orders: readonly ClientOrder[]): void {
    const { gateway, record } = this.#init;
    this.#batches += 1;
    const batch = this.#batches;
    gateway.request(async (process, clock) => {
      const now = clock.now();
      const specs = orders.map(({ spec }) => dated(spec, now));
      record({ kind: "batch-asked", batch, specs });
      const answer = await this.#withModules(process, orders, async (inspections) => {
        const tasks = specs.flatMap((spec, index) => {
          const inspection = inspections[index];
          return inspection === undefined ? [] : [{ spec, inspection }];
        });
        const result = await process.tasks.submitAll(tasks, now);
        return result.kind;
      }).catch(this.#codeOf);
      record({ kind: "batch-answered", batch, answer });
    });
  }

  cancel(task: TaskId): void {
    const { gateway, record } = this.#init;
    gateway.request(async (process) => {
      record({ kind: "cancel-asked", task });
      const answer = await process.tasks
        .cancel(task, "not wanted any more")
        .then((result) => result.kind, this.#codeOf);
      record({ kind: "cancel-answered", task, answer });
    });
  }

  retry(task: TaskId): void {
    const { gateway, record } = this.#init;
    gateway.request(async (process) => {
      record({ kind: "retry-asked", task });
      const answer = await process.tasks.retry(task).then((result) => result.kind, this.#codeOf);
      record({ kind: "retry-answered", task, answer });
    });
  }

  delete(task: TaskId): void {
    const { gateway, record } = this.#init;
    gateway.request(async (process) => {
      record({ kind: "delete-asked", task });
      const answer = await process.tasks
        .delete(task)
        .then((isDeleted) => (isDeleted ? "deleted" : "no-such-task"), this.#codeOf);
      record({ kind: "delete-answered", task, answer });
    });
  }

  operate(worker: PeerId, what: "drain" | "admit" | "forget"): void {
    const { gateway, record } = this.#init;
    gateway.request(async (process) => {
      record({ kind: "operator-asked", what, worker });
      await process.sessions[what](worker).catch(this.#codeOf);
    });
  }

  /** Asks for nothing more. */
  leave(): void {
    this.#isGone = true;
  }

  #submit(order: ClientOrder, key: string | undefined, onAnswer: (answer: string) => void = () => {}): void {
    const { gateway, record } = this.#init;
    gateway.request(async (process, clock) => {
      const now = clock.now();
      const spec = dated(order.spec, now);
      record({ kind: "submit-asked", spec, key });
      let serial: number | undefined;
      const answer = await this.#withModules(process, [order], async ([inspection]) => {
        const result = await process.tasks.submit(spec, inspection ?? INSPECTION, now, { key: submissionKey(key) });
        if (result.kind === "created" || result.kind === "repeated") serial = result.task.serial;
        return result.kind;
      }).catch(this.#codeOf);
      record({ kind: "submit-answered", task: spec.id, answer, serial, key });
      onAnswer(answer);
    });
  }

  /** How a request was refused. What is thrown otherwise is nothing that a client may get. */
  readonly #codeOf = (error: unknown): string => {
    if (error instanceof ClusterError) return error.code;
    this.#init.record({ kind: "complaint", message: `a request was answered with: ${messageOf(error)}` });
    return "failed";
  };

  /** As the API does: modules are pinned and uploaded before their tasks are made, and retired if none is. */
  async #withModules(
    gateway: Gateway,
    orders: readonly ClientOrder[],
    act: (inspections: readonly ModuleInspection[]) => Promise<string>,
  ): Promise<string> {
    const pins: Disposable[] = [];
    let answer: string | undefined;
    try {
      for (const { digest, bytes } of orders.flatMap(({ blobs }) => blobs)) {
        pins.push(await gateway.pins.pin(digest));
        await using writer = await this.#init.blobs.create();
        await writer.write(bytes);
        await writer.finish();
        await writer.commit();
      }
      answer = await act(orders.map(({ module }) => ({ ...INSPECTION, bytes: module.bytes.length })));
      return answer;
    } finally {
      for (const pin of pins) pin[Symbol.dispose]();
      const uploaded = answer === "created" ? [] : orders.flatMap(({ blobs }) => blobs);
      for (const { digest } of uploaded) await gateway.pins.retireUnused(digest);
    }
  }
}

function dated(spec: TaskSpec, now: number): TaskSpec {
  return { ...spec, firstDueAt: now + spec.firstDueAt };
}

function submissionKey(key: string | undefined): SubmissionKey | undefined {
  return key === undefined ? undefined : { submitter: "local", key, fingerprint: key };
}
