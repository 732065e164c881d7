import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import {
  BLOB_FORGIVEN_MS,
  BLOB_RETRY_FIRST_MS,
  BLOB_RETRY_MAX_MS,
  BLOB_UNREADABLE_ATTEMPTS_MAX,
  BLOB_UNREADABLE_MS_MAX,
} from "../../src/base/limits.ts";
import { type UnreadableBlob, UnreadableBlobs } from "../../src/gateway/unreadable-blobs.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { T0, digest, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandRun, HandWorker } from "../support/hand-worker.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const BLOB = digest();
const BROKEN = failed("the disk does not answer", { code: "store-unavailable" });

test("gives a blob up after many attempts and a long time, and not before both", async () => {
  const setup = new Setup();
  for (let attempt = 1; attempt <= BLOB_UNREADABLE_ATTEMPTS_MAX; attempt++) {
    expect((await setup.fail(attempt)).isHopeless).toBe(false);
  }
  setup.clock.advance(BLOB_UNREADABLE_MS_MAX);
  expect((await setup.fail(9)).isHopeless).toBe(true);
});

test("an attempt that reads again and again counts once, and is told of once", async () => {
  const setup = new Setup();
  const told: UnreadableBlob[] = [];
  const reads = setup.blobs.readsFor(attempt(1), (found) => told.push(found));
  const read = () => expect(reads.of(BLOB, () => Promise.reject(BROKEN))).rejects.toMatchObject({ type: "overloaded" });
  await Promise.all(Array.from({ length: 2 * BLOB_UNREADABLE_ATTEMPTS_MAX }, read));
  expect(told).toMatchObject([{ blob: BLOB, isHopeless: false }]);
  expect(setup.blobs.nextEndInMs()).toBeLessThanOrEqual(BLOB_RETRY_FIRST_MS);
  setup.clock.advance(BLOB_UNREADABLE_MS_MAX);
  expect((await setup.fail(1)).isHopeless).toBe(false);
});

test("gives nothing up while the store as a whole is in trouble, nor at once when that is over", async () => {
  const setup = new Setup();
  setup.trouble = "its files cannot be written";
  for (let each = 1; each <= BLOB_UNREADABLE_ATTEMPTS_MAX; each++) {
    expect((await setup.fail(each)).isHopeless).toBe(false);
    setup.clock.advance(BLOB_UNREADABLE_MS_MAX - 1);
  }
  setup.trouble = undefined;
  expect((await setup.fail(8)).isHopeless).toBe(false);
  setup.clock.advance(BLOB_UNREADABLE_MS_MAX);
  expect((await setup.fail(9)).isHopeless).toBe(true);
});

test("counts anew when nobody has met the trouble for long", async () => {
  const setup = new Setup();
  for (let each = 1; each <= BLOB_UNREADABLE_ATTEMPTS_MAX; each++) await setup.fail(each);
  setup.clock.advance(BLOB_FORGIVEN_MS);
  expect((await setup.fail(9)).isHopeless).toBe(false);
});

test("lets its runs wait for a moment, longer each time, and no more once it was read", async () => {
  const setup = new Setup();
  const other = { serial: 7, index: 1 };
  await setup.fail(1);
  const first = setup.blobs.nextEndInMs() ?? 0;
  expect(setup.blobs.isResting(other, [digest("b"), BLOB])).toBe(true);
  expect(setup.blobs.isResting(other, [digest("b")])).toBe(false);
  // Which files the run reads may be known only when it is started.
  expect(setup.blobs.isResting({ serial: 1, index: 1 }, [])).toBe(true);
  setup.clock.advance(first);
  expect(setup.blobs.isResting(other, [BLOB])).toBe(false);
  expect(setup.blobs.nextEndInMs()).toBeUndefined();
  for (let each = 2; each < 7; each++) await setup.fail(each);
  expect(setup.blobs.nextEndInMs()).toBeGreaterThan(first);
  expect(await setup.blobs.readsFor(attempt(8), () => {}).of(BLOB, async () => "bytes")).toBe("bytes");
  expect(setup.blobs.isResting(other, [BLOB])).toBe(false);
  expect(setup.readable).toBe(1);
});

test("a run whose module cannot be read rests between its tries, and costs its worker nothing", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await modulesOn(cluster);
  await cluster.submit("t");
  await cannotRead(await worker.take());
  await cluster.hasRunState("t", "ready");
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  worker.offer();
  await cluster.quiet();
  expect(worker.runs).toEqual([]);
  expect(cluster.gateway.sessions.get(worker.peer)).toMatchObject({ status: "ready", isResting: false });
  const { serial, spec } = await cluster.task("t");
  expect(cluster.gateway.blobWaitMs({ serial, index: 1 }, spec)).toBeGreaterThan(0);
  expect(
    cluster.gateway.blobWaitMs({ serial: serial + 1, index: 1 }, { ...spec, module: digest("c") }),
  ).toBeUndefined();
  await cluster.pass(2_000, 250);
  expect((await worker.nextRun()).id.attempt).toBe(2);
});

test("a run whose module can never be read fails, and says why", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await modulesOn(cluster);
  await cluster.submit("t");
  for (let ms = 0; ms < 3 * BLOB_UNREADABLE_MS_MAX; ms += BLOB_RETRY_MAX_MS) {
    worker.offer();
    await cluster.pass(BLOB_RETRY_MAX_MS, 1_000);
    const run = worker.runs.shift();
    if (run === undefined) break;
    await cannotRead(run);
    await cluster.quiet();
  }
  const run = await cluster.hasRunState("t", "failed");
  expect(run.outcome).toMatchObject({ kind: "rejected", reason: expect.stringContaining("retry the task") });
  expect(run.attempts.map(({ state }) => state)).toContain("lost");
  expect(cluster.gateway.sessions.get(worker.peer)).toMatchObject({ status: "ready", isResting: false });
});

function attempt(number: number): AttemptId {
  return { task: taskId("t"), serial: 1, run: 1, attempt: number };
}

class Setup {
  readonly clock = new ManualClock({ now: T0 });
  trouble: string | undefined;
  /** How often it was said that one can be read again. */
  readable = 0;
  readonly blobs = new UnreadableBlobs({
    storeHealth: { check: () => Promise.resolve(this.trouble) },
    clock: this.clock,
    random: new SeededRandom(1),
    onReadable: () => (this.readable += 1),
  });

  /** What is told of an attempt that cannot read the blob. */
  async fail(number: number): Promise<UnreadableBlob> {
    const told = Promise.withResolvers<UnreadableBlob>();
    const read = this.blobs.readsFor(attempt(number), told.resolve).of(BLOB, () => Promise.reject(BROKEN));
    await expect(read).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
    return told.promise;
  }
}

/** A worker whose runs read their modules, which this gateway does not have. */
async function modulesOn(cluster: GatewayCluster): Promise<HandWorker> {
  const worker = await cluster.join();
  worker.keepsModules = true;
  return worker;
}

async function cannotRead(run: HandRun): Promise<void> {
  await expect(run.module?.read(0, 100)).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
  run.module?.[Symbol.dispose]();
  run.end({ kind: "lost", reason: "its module could not be fetched" });
}
