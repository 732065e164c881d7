/** Slots of cron and dependencies at a gateway: on a real store, with a clock that a test moves, sets and breaks. */
import { describe, expect, test } from "vitest";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import type { StoreTrouble } from "../../src/store/trouble.ts";
import { T0, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

const SECOND = 1_000;
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const YEAR = 365 * 24 * 60 * MINUTE;
const EVERY_MINUTE = { cron: "* * * * *", repeats: 0 };

/** When the runs that were made are due, in units of time after T0, with their states. */
async function slots(
  cluster: GatewayCluster,
  id: string,
  unit: number,
): Promise<readonly (readonly [number, string])[]> {
  const runs = (await cluster.store.listRuns(taskId(id), { fromIndex: 1, limit: 1_000 })) ?? [];
  return runs.map((run) => [(run.dueAt - T0) / unit, run.state] as const);
}

describe("a slot is served once", () => {
  test("while time goes by", async () => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", EVERY_MINUTE);
    await cluster.pass(3 * MINUTE, 10 * SECOND);
    expect(await slots(cluster, "t", MINUTE)).toEqual([
      [1, "ready"],
      [2, "ready"],
      [3, "ready"],
      [4, "scheduled"],
    ]);
  });

  test("by the gateway that is there at its time, however often it restarts", async () => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { ...EVERY_MINUTE, catchup: "none" });
    for (let restart = 0; restart < 8; restart++) {
      await cluster.pass(25 * SECOND, 5 * SECOND);
      await cluster.stop();
      await cluster.start();
      await cluster.quiet();
    }
    expect((await slots(cluster, "t", MINUTE)).map(([slot]) => slot)).toEqual([1, 2, 3, 4]);
  });

  test.each([
    ["latest", [10, 11]],
    ["all", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]],
    ["none", [11]],
  ] as const)("after a gateway was away for ten minutes, with catchup=%s", async (catchup, expected) => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { ...EVERY_MINUTE, catchup });
    await cluster.stop();
    cluster.clock.advance(10.5 * MINUTE);
    await cluster.start();
    await cluster.pass(SECOND);
    expect((await slots(cluster, "t", MINUTE)).map(([slot]) => slot)).toEqual(expected);
  });

  test.each([
    ["latest", [60, 61]],
    ["none", [61]],
  ] as const)("when the clock is put forward by an hour, with catchup=%s", async (catchup, expected) => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { ...EVERY_MINUTE, catchup });
    await cluster.pass(SECOND);
    cluster.clock.jump(60 * MINUTE);
    await cluster.pass(2 * SECOND);
    expect((await slots(cluster, "t", MINUTE)).map(([slot]) => slot)).toEqual(expected);
  });

  test("when the clock is put back, and lives through the same minutes again", async () => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { ...EVERY_MINUTE, catchup: "all" });
    await cluster.pass(3.5 * MINUTE, 10 * SECOND);
    cluster.clock.jump(-3 * MINUTE);
    await cluster.pass(2 * MINUTE, 10 * SECOND);
    await cluster.stop();
    await cluster.start();
    await cluster.pass(2 * MINUTE, 10 * SECOND);
    expect((await slots(cluster, "t", MINUTE)).map(([slot]) => slot)).toEqual([1, 2, 3, 4, 5]);
  });

  test("and no task stands still when the clock is put back that was a year ahead", async () => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", EVERY_MINUTE);
    await cluster.pass(SECOND);
    cluster.clock.jump(YEAR);
    await cluster.pass(2 * SECOND);
    expect((await cluster.task("t")).nextRunAt).toBe(T0 + YEAR + MINUTE);
    cluster.clock.jump(-YEAR);
    await cluster.pass(2 * MINUTE, 10 * SECOND);
    const found = (await slots(cluster, "t", MINUTE)).map(([slot]) => slot);
    expect(found).toEqual([YEAR / MINUTE, 1, 2, 3]);
  });

  test("and no task stands still when a gateway begins by a clock that is put back since", async () => {
    await using cluster = await GatewayCluster.open();
    cluster.clock.jump(YEAR);
    await cluster.submit("t", EVERY_MINUTE);
    await cluster.submit("u", { ...EVERY_MINUTE, catchup: "none" });
    await cluster.pass(MINUTE, 10 * SECOND);
    await cluster.stop();
    cluster.clock.jump(-YEAR);
    await cluster.start();
    await cluster.pass(2 * MINUTE, 10 * SECOND);
    for (const id of ["t", "u"]) {
      expect((await slots(cluster, id, MINUTE)).map(([slot]) => slot)).toEqual([YEAR / MINUTE + 1, 2, 3, 4]);
    }
  });

  test("though the process stood still for a while", async () => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { cron: "* * * * * *", repeats: 0 });
    // Both clocks go on, and no timer fires before the end.
    cluster.clock.advance(0);
    const release = cluster.trouble.holdAnswers("promoteDue");
    await cluster.pass(SECOND);
    cluster.clock.advance(30 * SECOND);
    release();
    await cluster.quiet();
    await cluster.pass(10);
    expect((await slots(cluster, "t", SECOND)).map(([slot]) => slot)).toEqual([1, 31, 32]);
  });

  test.each([
    ["latest", [1, 13, 14]],
    ["all", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]],
    ["none", [1, 13, 14]],
  ] as const)("after the process stood still for twelve seconds, with catchup=%s", async (catchup, expected) => {
    await using cluster = await GatewayCluster.open();
    await cluster.submit("t", { cron: "* * * * * *", repeats: 0, catchup });
    await cluster.pass(1.5 * SECOND);
    cluster.clock.stall(12 * SECOND);
    await cluster.pass(10);
    // The last one came less than a second before.
    expect((await slots(cluster, "t", SECOND)).map(([slot]) => slot)).toEqual(expected);
  });

  test.each([
    ["latest", [1, 16, 17]],
    ["all", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]],
    ["none", [1, 16, 17]],
  ] as const)("after the store refused for fourteen seconds, with catchup=%s", async (catchup, expected) => {
    await using cluster = await GatewayCluster.open();
    // Slots do not come just when the store is looked at.
    cluster.clock.jump(300);
    await cluster.submit("t", { cron: "* * * * * *", repeats: 0, catchup });
    await cluster.pass(1.5 * SECOND);
    let trouble: StoreTrouble | undefined = { kind: "disk-full", message: "the disk is full" };
    cluster.trouble.store.check = () => Promise.resolve(trouble);
    cluster.trouble.broken.add("promoteDue");
    await cluster.pass(14 * SECOND);
    cluster.trouble.broken.clear();
    trouble = undefined;
    // Whatever the back-off has come to: the store is looked at once a second.
    await cluster.pass(SECOND / 2 + 1, 100);
    expect((await slots(cluster, "t", SECOND)).map(([slot]) => slot)).toEqual(expected);
  });

  test("by a task that forbids overlap, when the run before has ended", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    worker.offer(3);
    await cluster.submit("t", { ...EVERY_MINUTE, overlap: "forbid", repeats: 2 });
    await cluster.pass(MINUTE, 10 * SECOND);
    const first = await worker.nextRun();
    await cluster.passRenewing(150 * SECOND, worker, [first]);
    expect(worker.runs).toHaveLength(0);
    first.end();
    const second = await worker.nextRun();
    expect(await slots(cluster, "t", MINUTE)).toEqual([
      [1, "succeeded"],
      [3, "running"],
    ]);
    second.end();
    await cluster.hasState("t", "succeeded");
  });
});

test("a run that is made when the one before has ended is run at its own time, if that is still to come", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { overlap: "forbid", delayMs: 10 * SECOND, repeats: 3 });
  (await worker.take()).end();
  for (const run of [2, 3]) {
    await cluster.until("the next one is made", async () => (await slots(cluster, "t", SECOND)).length === run);
    worker.offer();
    await cluster.pass(10 * SECOND - 1, 5 * SECOND);
    expect(worker.runs).toHaveLength(0);
    await cluster.pass(1);
    const next = await worker.nextRun();
    expect(next.id.run).toBe(run);
    next.end();
  }
  await cluster.hasState("t", "succeeded");
});

describe("a task after others", () => {
  test("is run when they have succeeded, at once, and told of", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    worker.offer(3);
    await cluster.submit("a");
    await cluster.submit("b", { after: [taskId("a")] });
    const events: ClusterEvent[] = [];
    using _subscription = cluster.gateway.events.subscribeTask(taskId("b"), (event) => events.push(event));
    const first = await worker.nextRun();
    expect(first.id.task).toBe("a");
    await cluster.quiet();
    expect(worker.runs).toHaveLength(0);
    first.end();
    await cluster.until("the end of a has been seen to", async () => {
      await cluster.pass(1);
      return worker.runs.length > 0;
    });
    (await worker.nextRun()).end();
    await cluster.hasState("b", "succeeded");
    expect(events.slice(0, 2)).toMatchObject([
      { type: "run", run: 1, attempt: 0, state: "ready" },
      { type: "task", state: "ready" },
    ]);
  });

  test.each(["fails", "is cancelled", "is deleted"])("is cancelled when one %s", async (how) => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("a");
    await cluster.submit("b", { after: [taskId("a")] });
    await cluster.submit("c", { after: [taskId("b")] });
    if (how === "fails") (await worker.take()).end({ kind: "exited", code: 3 });
    else if (how === "is cancelled") await cluster.cancel("a");
    else await cluster.forget("a");
    await cluster.until("c is cancelled", async () => {
      await cluster.pass(1);
      return (await cluster.task("c")).state === "cancelled";
    });
    expect((await cluster.task("c")).reason).toMatch(/^it runs after b, which was cancelled: it runs after a, which/);
  });

  test("is seen to by the next gateway, where one ended first", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("a");
    await cluster.submit("b", { after: [taskId("a")] });
    cluster.trouble.broken.add("promoteDue");
    (await worker.take()).end();
    await cluster.hasState("a", "succeeded");
    await cluster.stop();
    cluster.trouble.broken.clear();
    await cluster.start();
    await cluster.pass(1);
    expect(await cluster.task("b")).toMatchObject({ state: "ready" });
  });
});

test("a task that is tried again is run again, and told of", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  (await worker.take()).end({ kind: "exited", code: 3 });
  await cluster.hasState("t", "failed");
  const events: ClusterEvent[] = [];
  using _subscription = cluster.gateway.events.subscribeTask(taskId("t"), (event) => events.push(event));
  expect(await cluster.gateway.tasks.retry(taskId("t"))).toMatchObject({ kind: "retried" });
  const again = await worker.take();
  expect(again.id).toMatchObject({ run: 1, attempt: 2 });
  again.end();
  await cluster.hasState("t", "succeeded");
  expect(events.slice(0, 2)).toMatchObject([
    { type: "task", state: "ready" },
    { type: "run", run: 1, attempt: 1, state: "ready" },
  ]);
});

test("a clock that is put back while the store is out of order does not put off what is to be tried again", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("a");
  await cluster.submit("b", { after: [taskId("a")] });
  cluster.trouble.broken.add("promoteDue");
  (await worker.take()).end({ kind: "exited", code: 3 });
  await cluster.hasState("a", "failed");
  await cluster.pass(100, 50);
  cluster.clock.jump(-60 * MINUTE);
  cluster.trouble.broken.clear();
  await cluster.pass(10 * SECOND);
  expect(await cluster.task("b")).toMatchObject({ state: "cancelled" });
});

test("a back-off that ends is noted in the store, though nothing else is due, also over a restart", async () => {
  await using cluster = await GatewayCluster.open();
  const retried = { retries: 1, backoffMs: 60_000, require: { zone: "eu" } };
  for (const id of ["first", "second"]) {
    const worker = await cluster.join("A", { labels: { zone: "eu" } });
    await cluster.submit(id, retried);
    (await worker.take()).end({ kind: "exited", code: 1 });
    await cluster.hasRunState(id, "ready");
    if (id === "second") {
      await cluster.stop();
      await cluster.start();
    }
    expect(await cluster.store.nextBackoffEnd(0)).toBeDefined();
    await cluster.pass(MINUTE, 5 * SECOND);
    // It is where the ready runs are that have nothing to wait for.
    expect(await cluster.store.nextBackoffEnd(0)).toBeUndefined();
    await cluster.cancel(id);
  }
});

test.each(["is seen to be set", "is set while the gateway is down"])(
  "a back-off is as long as it was to be when a clock that was a day ahead %s",
  async (how) => {
    await using cluster = await GatewayCluster.open();
    cluster.clock.jump(DAY);
    await cluster.pass(3 * SECOND);
    const before = await cluster.join();
    await cluster.submit("t", { retries: 1, backoffMs: 10 * SECOND });
    (await before.take()).end({ kind: "exited", code: 1 });
    await cluster.hasRunState("t", "ready");
    const isDown = how !== "is seen to be set";
    if (isDown) await cluster.stop();
    cluster.clock.jump(-DAY);
    if (isDown) await cluster.start();
    const worker = isDown ? await cluster.join() : before;
    worker.offer();
    await cluster.pass(4 * SECOND);
    expect(worker.runs).toHaveLength(0);
    await cluster.pass(8 * SECOND);
    expect(worker.runs).toMatchObject([{ id: { attempt: 2 } }]);
  },
);
