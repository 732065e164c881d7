import { expect, test } from "vitest";
import { STORE_CHECK_EVERY_MS } from "../../src/base/limits.ts";
import { StoreHealth } from "../../src/gateway/store-health.ts";
import type { CheckOptions, StoreTrouble } from "../../src/store/trouble.ts";
import { silentLog } from "../../src/base/log.ts";
import { T0 } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";

const FULL: StoreTrouble = { kind: "disk-full", message: "the disk that holds /secret/path is full" };

test("refuses while either store is in trouble, and takes work again within a second after", async () => {
  await using setup = new Setup();
  const { health, store, blobs } = setup;
  expect(health.refusesBecause()).toBeUndefined();
  for (const part of [store, blobs]) {
    part.trouble = FULL;
    await setup.pass(STORE_CHECK_EVERY_MS);
    expect(health.refusesBecause()).toBe("its disk is full");
    part.trouble = undefined;
    await setup.pass(STORE_CHECK_EVERY_MS);
    expect(health.refusesBecause()).toBeUndefined();
  }
});

test("writes to find out when it is asked, however many ask, once a second at most", async () => {
  await using setup = new Setup();
  const { health, store } = setup;
  store.trouble = FULL;
  const answers = await Promise.all([health.check(), health.check(), health.check()]);
  expect(answers).toEqual(["its disk is full", "its disk is full", "its disk is full"]);
  await health.check();
  expect(store.asked.filter(({ isThorough }) => isThorough)).toHaveLength(1);
  store.trouble = undefined;
  await setup.pass(STORE_CHECK_EVERY_MS);
  expect(await health.check()).toBeUndefined();
  expect(store.asked.filter(({ isThorough }) => isThorough)).toHaveLength(2);
});

test("tells that a trouble is over, or is another one, and not that it has begun", async () => {
  await using setup = new Setup();
  const { store } = setup;
  store.trouble = FULL;
  await setup.pass(2 * STORE_CHECK_EVERY_MS);
  expect(setup.relieved).toBe(0);
  store.trouble = { kind: "busy", message: "somebody else holds it" };
  await setup.pass(STORE_CHECK_EVERY_MS);
  expect(setup.relieved).toBe(1);
  store.trouble = undefined;
  await setup.pass(STORE_CHECK_EVERY_MS);
  expect(setup.relieved).toBe(2);
});

test("looks once at a time, however slow the store is, and whoever asks meanwhile gets an answer of its own", async () => {
  await using setup = new Setup();
  const { health, store } = setup;
  const answered = Promise.withResolvers<void>();
  store.answering = answered.promise;
  await setup.pass(STORE_CHECK_EVERY_MS);
  store.trouble = FULL;
  const answers = Promise.all([health.check(), health.check()]);
  await setup.pass(STORE_CHECK_EVERY_MS);
  expect(store.asked).toHaveLength(1);
  answered.resolve();
  expect(await answers).toEqual(["its disk is full", "its disk is full"]);
  expect(store.asked).toHaveLength(2);
});

test("leaves no timer when it is closed while it looks", async () => {
  await using setup = new Setup();
  const answered = Promise.withResolvers<void>();
  setup.store.answering = answered.promise;
  await setup.pass(STORE_CHECK_EVERY_MS);
  setup.health.close();
  answered.resolve();
  await settlePromises();
  expect(setup.clock.pendingTimers).toBe(0);
});

test("a gateway whose store is in trouble takes no task, by whichever way it comes", async () => {
  await using cluster = await GatewayCluster.open();
  let trouble: StoreTrouble | undefined = FULL;
  cluster.trouble.store.check = () => Promise.resolve(trouble);
  await cluster.pass(STORE_CHECK_EVERY_MS);
  await expect(cluster.submit("t")).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
  trouble = undefined;
  await cluster.pass(STORE_CHECK_EVERY_MS);
  await cluster.submit("t");
});

class Part {
  trouble: StoreTrouble | undefined;
  readonly asked: CheckOptions[] = [];
  answering = Promise.resolve();

  async check(options: CheckOptions = {}): Promise<StoreTrouble | undefined> {
    this.asked.push(options);
    const { trouble } = this;
    await this.answering;
    return trouble;
  }
}

class Setup implements AsyncDisposable {
  readonly store = new Part();
  readonly blobs = new Part();
  readonly clock = new ManualClock({ now: T0 });
  relieved = 0;
  readonly health = new StoreHealth({
    store: this.store,
    blobs: this.blobs,
    clock: this.clock,
    log: silentLog,
    onRelieved: () => (this.relieved += 1),
  });

  constructor() {
    this.health.start();
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await settlePromises();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.health.close();
    await settlePromises();
    expect(this.clock.pendingTimers).toBe(0);
  }
}
