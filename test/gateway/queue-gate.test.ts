/** The queue's limits, and what whoever finds it full is told. */
import { expect, test } from "vitest";
import { QUEUE_RETRY_MS_MAX, QUEUE_RETRY_MS_MIN } from "../../src/base/limits.ts";
import { ClusterError } from "../../src/base/errors.ts";
import { EventHub } from "../../src/gateway/events.ts";
import { QueueGate, queuedBytes } from "../../src/gateway/queue-gate.ts";
import { taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { ManualClock } from "../support/manual-clock.ts";

class Queue implements Disposable {
  readonly clock = new ManualClock();
  readonly events = new EventHub();
  readonly gate: QueueGate;
  size = { tasks: 0, bytes: 0 };
  runs = { scheduled: 0, ready: 1, running: 0 };
  dueAt: () => Promise<number | undefined> = () => Promise.resolve(undefined);

  constructor(limits: { readonly tasks?: number; readonly bytes?: number }) {
    const store = {
      measureQueue: () => Promise.resolve(this.size),
      countOpenRuns: () => Promise.resolve(this.runs),
      nextDueAt: () => this.dueAt(),
    };
    this.gate = new QueueGate({ store, events: this.events, clock: this.clock, limits });
  }

  /** One more is let in; or how long it is told to wait. */
  async ask(bytes = 0): Promise<number | Disposable> {
    try {
      return await this.gate.admit({ tasks: 1, bytes });
    } catch (thrown) {
      if (!(thrown instanceof ClusterError) || thrown.retryAfterMs === undefined) throw thrown;
      expect(thrown).toMatchObject({ type: "overloaded", code: "queue-full" });
      return thrown.retryAfterMs;
    }
  }

  /** Tasks end, so many a second, for a while. */
  drain(perSecond: number, seconds: number): void {
    for (let each = 0; each < perSecond * seconds; each++) {
      this.events.publish({ type: "task", task: taskId("t"), state: "succeeded" });
      this.clock.advance(1_000 / perSecond);
    }
  }

  [Symbol.dispose](): void {
    this.gate[Symbol.dispose]();
  }
}

test("lets in no more than there is room for, however many ask at once", async () => {
  using queue = new Queue({ tasks: 10 });
  queue.size = { tasks: 7, bytes: 0 };
  const answers = await Promise.all(Array.from({ length: 8 }, () => queue.ask()));
  const admitted = answers.filter((answer) => typeof answer !== "number");
  expect(admitted.length).toBeLessThanOrEqual(3);
  for (const each of admitted) each[Symbol.dispose]();
  expect(typeof (await queue.ask())).toBe("object");
});

test("counts bytes too", async () => {
  using queue = new Queue({ bytes: 1_000 });
  queue.size = { tasks: 1, bytes: 900 };
  expect(typeof (await queue.ask(101))).toBe("number");
  expect(typeof (await queue.ask(100))).toBe("object");
});

test("what has left leaves once, however often that is said", async () => {
  using queue = new Queue({ tasks: 2 });
  const first = await queue.ask();
  if (typeof first === "number") throw new Error("there is room");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const answers = await Promise.all([queue.ask(), queue.ask(), queue.ask()]);
  expect(answers.filter((answer) => typeof answer !== "number").length).toBeLessThanOrEqual(2);
});

test("tells to come back when there will be room for its bytes", async () => {
  using queue = new Queue({ bytes: 10_000 });
  queue.drain(2, 600);
  // Each has a hundred bytes; twenty tasks have to end, two a second.
  queue.size = { tasks: 100, bytes: 10_000 };
  const waitMs = await queue.ask(2_000);
  expect(waitMs).toBeGreaterThan(7_000);
  expect(waitMs).toBeLessThan(11_000);
});

test.each(["succeeded", "failed", "cancelled"] as const)("a task that is %s counts as an end", async (state) => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.clock.advance(3_600_000);
  const before = await queue.ask();
  for (let each = 0; each < 100; each++) queue.events.publish({ type: "task", task: taskId("t"), state });
  expect(await queue.ask()).toBeLessThan(Number(before));
});

test("a gate that is gone counts nothing any more", async () => {
  const queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.clock.advance(3_600_000);
  queue[Symbol.dispose]();
  queue.drain(100, 60);
  expect(await queue.ask()).toBeCloseTo(QUEUE_RETRY_MS_MAX, 0);
});

test("all that a submitter can make large counts", () => {
  const plain = { stdin: new Uint8Array(), args: [], env: {}, description: "" };
  const more = [
    { stdin: new Uint8Array(100) },
    { args: ["x".repeat(50), "x".repeat(50)] },
    { env: { [`K${"x".repeat(49)}`]: "x".repeat(50) } },
    { description: "x".repeat(100) },
  ].map((changes) => queuedBytes({ ...plain, ...changes }) - queuedBytes(plain));
  expect(more).toEqual([100, 100, 100, 100]);
});

test("tells to come back when there will be room, by how fast tasks end", async () => {
  using queue = new Queue({ tasks: 100 });
  queue.drain(2, 600);
  queue.size = { tasks: 109, bytes: 0 };
  // Ten too many, two end a second.
  const waitMs = await queue.ask();
  expect(waitMs).toBeGreaterThan(4_500);
  expect(waitMs).toBeLessThan(5_500);
  // Who asks again stands where it stood.
  expect(await queue.ask()).toBeCloseTo(Number(waitMs), 0);
});

test("tells a second or so where tasks take one, however young the gateway is or long it was idle", async () => {
  using queue = new Queue({ tasks: 5 });
  const tell = async () => {
    const waitMs = await queue.ask();
    expect(waitMs).toBeGreaterThanOrEqual(1_000);
    expect(waitMs).toBeLessThanOrEqual(3_000);
  };
  for (const idleMs of [0, 3_600_000]) {
    queue.clock.advance(idleMs);
    queue.size = { tasks: 0, bytes: 0 };
    const first = await queue.ask();
    if (typeof first === "object") first[Symbol.dispose]();
    queue.size = { tasks: 5, bytes: 0 };
    for (let second = 0; second < 4; second++) {
      // Many tries of one client.
      for (let each = 0; each < 20; each++) await tell();
      queue.clock.advance(1_000);
      queue.events.publish({ type: "task", task: taskId("a"), state: "succeeded" });
      queue.events.publish({ type: "task", task: taskId("b"), state: "succeeded" });
    }
  }
});

test("what an empty queue has no room for is refused for good", async () => {
  using queue = new Queue({ tasks: 5 });
  await expect(queue.gate.admit({ tasks: 6, bytes: 0 })).rejects.toMatchObject({ type: "failed", code: "too-large" });
  using small = new Queue({ bytes: 1_000 });
  await expect(small.ask(1_001)).rejects.toMatchObject({ type: "failed", code: "too-large" });
});

test("tells a longest time while nothing ends, and a shortest when much does", async () => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.clock.advance(3_600_000);
  expect(await queue.ask()).toBeCloseTo(QUEUE_RETRY_MS_MAX, 0);
  queue.drain(100, 60);
  expect(await queue.ask()).toBe(QUEUE_RETRY_MS_MIN);
});

test("tasks that are forgotten when they have finished do not count as ends", async () => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  for (let each = 0; each < 1_000; each++) {
    queue.events.publish({ type: "task", task: taskId("t"), state: "deleted" });
  }
  queue.clock.advance(3_600_000);
  expect(await queue.ask()).toBeCloseTo(QUEUE_RETRY_MS_MAX, 0);
});

test("a task that is deleted before it has finished counts as an end, and one after that does not", async () => {
  await using cluster = await GatewayCluster.open({ queueLimits: { tasks: 11 } });
  const ids = Array.from({ length: 10 }, (_, each) => `t${each}`);
  const fill = async () => {
    for (const id of ids) await cluster.submit(id);
  };
  const waitMs = async () => {
    const refused = await cluster.submit("more").catch((error: unknown) => error);
    if (!(refused instanceof ClusterError)) throw new Error("it is let in");
    return refused.retryAfterMs ?? 0;
  };
  await cluster.submit("stays");
  await fill();
  await cluster.pass(60_000, 10_000);
  const noneMs = await waitMs();
  for (const id of ids) await cluster.forget(id);
  await fill();
  const tenMs = await waitMs();
  expect(tenMs).toBeCloseTo(noneMs / 11, -2);
  for (const id of ids) await cluster.cancel(id);
  for (const id of ids) await cluster.forget(id);
  await fill();
  // Each counts once.
  expect(await waitMs()).toBeCloseTo(noneMs / 21, -2);
});

test("a gateway whose queue is full refuses, and takes more when tasks have ended", async () => {
  await using cluster = await GatewayCluster.open({ queueLimits: { tasks: 2 } });
  const worker = await cluster.join();
  await cluster.submit("a");
  await cluster.submit("b");
  await expect(cluster.submit("c")).rejects.toMatchObject({ type: "overloaded", code: "queue-full" });
  (await worker.take()).end();
  await cluster.hasState("a", "succeeded");
  await cluster.submit("c");
});

test.each([
  [30_500, 30_500],
  [500, QUEUE_RETRY_MS_MIN],
  [-5_000, QUEUE_RETRY_MS_MIN],
  [86_400_000, QUEUE_RETRY_MS_MAX],
])("where the first of all that waits is due in %s ms, tells to come back in %s ms", async (dueInMs, expectedMs) => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.drain(100, 60);
  queue.runs = { scheduled: 1, ready: 0, running: 0 };
  const dueAt = queue.clock.now() + dueInMs;
  queue.dueAt = () => Promise.resolve(dueAt);
  expect(await queue.ask()).toBe(expectedMs);
});

test.each([
  ["is ready", { scheduled: 1, ready: 1, running: 0 }],
  ["is running", { scheduled: 1, ready: 0, running: 1 }],
])("a run that %s may end before another is due: what is told is by how fast tasks end", async (_, runs) => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.drain(100, 60);
  queue.runs = runs;
  const dueAt = queue.clock.now() + 30_000;
  queue.dueAt = () => Promise.resolve(dueAt);
  expect(await queue.ask()).toBe(QUEUE_RETRY_MS_MIN);
});

test("what is told is by how fast tasks end where the store does not say when something is due", async () => {
  using queue = new Queue({ tasks: 1 });
  queue.size = { tasks: 1, bytes: 0 };
  queue.clock.advance(3_600_000);
  queue.runs = { scheduled: 1, ready: 0, running: 0 };
  queue.dueAt = () => Promise.reject(new Error("the disk is gone"));
  expect(await queue.ask()).toBeCloseTo(QUEUE_RETRY_MS_MAX, 0);
});

test("a gateway whose tasks all wait for their time says when the first of them begins, and takes more after it", async () => {
  await using cluster = await GatewayCluster.open({ queueLimits: { tasks: 2 } });
  const worker = await cluster.join();
  const dueIn = (ms: number) => ({ firstDueAt: cluster.clock.now() + ms });
  await cluster.submit("soon", dueIn(20_000));
  await cluster.submit("later", dueIn(3_600_000));
  const refused = await cluster.submit("more").catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "queue-full", retryAfterMs: 20_000 });
  await cluster.pass(20_000, 5_000);
  (await worker.take()).end();
  await cluster.hasState("soon", "succeeded");
  await cluster.submit("more");
});

test("who has as many tasks as a token allows is told to come back when as many more may have ended", async () => {
  using queue = new Queue({ tasks: 10 });
  const full = { kind: "submitter-full", unfinished: 3 } as const;
  expect(await queue.gate.submitterFull(full, 1)).toMatchObject({
    type: "overloaded",
    code: "rate-limited",
    retryAfterMs: QUEUE_RETRY_MS_MIN,
  });
  queue.drain(10, 60);
  const [one, many] = await Promise.all([1, 1_000].map((wanted) => queue.gate.submitterFull(full, wanted)));
  expect(one).toMatchObject({ retryAfterMs: QUEUE_RETRY_MS_MIN });
  expect(many instanceof ClusterError && many.retryAfterMs).toBeGreaterThan(10 * QUEUE_RETRY_MS_MIN);
});
