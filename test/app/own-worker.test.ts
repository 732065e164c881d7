import { expect, test } from "vitest";
import { serveOwnWorker } from "../../src/app/own-worker.ts";
import { failed } from "../../src/base/errors.ts";
import { REDIAL_FIRST_MS, REDIAL_MAX_MS } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import type { WorkerSessionClient } from "../../src/caps/worker-session.ts";
import { peerId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const OWN = peerId("S");

/** A worker whose sessions end when the test says so. */
class OwnWorker implements AsyncDisposable {
  /** That have begun, and those that go on. */
  sessions = 0;
  underway = 0;
  readonly #stopped = new AbortController();
  readonly #served: Promise<void>;
  #end: (() => void) | undefined;

  constructor(cluster: GatewayCluster) {
    const state = { slots: 1, busy: 0, weight: 1, labels: {}, version: "0.0.0-test", cachedModules: [] };
    const serve = async (session: WorkerSessionClient, { signal }: { signal: AbortSignal }): Promise<void> => {
      using _session = session;
      await session.resume([]);
      this.sessions++;
      this.underway++;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#end = () => reject(failed("the session has ended"));
      signal.addEventListener("abort", () => resolve(), { once: true });
      await promise.finally(() => this.underway--);
    };
    this.#served = serveOwnWorker(
      {
        sessions: cluster.gateway.sessions,
        worker: { state: () => state, serve },
        peerId: OWN,
        clock: cluster.clock,
        random: new SeededRandom(2),
        log: silentLog,
      },
      this.#stopped.signal,
    );
  }

  /** The session under way ends. */
  endSession(): void {
    this.#end?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#served;
  }
}

test("a gateway's own worker that is barred stays out until it is admitted", async () => {
  await using cluster = await GatewayCluster.open();
  await using own = new OwnWorker(cluster);
  await cluster.until("it has a session", () => own.sessions === 1);
  await cluster.gateway.sessions.forget(OWN);
  await cluster.until("its worker knows that the session has ended", () => own.underway === 0);
  await cluster.pass(10 * REDIAL_MAX_MS);
  expect(own.sessions).toBe(1);
  expect(cluster.gateway.sessions.list()).toEqual([]);
  await cluster.gateway.sessions.admit(OWN);
  await cluster.pass(REDIAL_MAX_MS);
  expect(own.sessions).toBe(2);
  expect(cluster.gateway.sessions.list()).toMatchObject([{ id: OWN, status: "ready" }]);
});

test("sessions that end at once are further and further apart, until one has lasted", async () => {
  await using cluster = await GatewayCluster.open();
  await using own = new OwnWorker(cluster);
  for (let session = 1; session <= 6; session++) {
    await cluster.until(`session ${session} has begun`, async () => {
      if (own.sessions < session) await cluster.pass(100, 100);
      return own.sessions === session;
    });
    own.endSession();
    await cluster.quiet();
  }
  await cluster.pass(REDIAL_FIRST_MS);
  expect(own.sessions).toBe(6);
  await cluster.pass(REDIAL_MAX_MS);
  expect(own.sessions).toBe(7);
  await cluster.pass(REDIAL_MAX_MS);
  own.endSession();
  await cluster.quiet();
  await cluster.pass(REDIAL_FIRST_MS);
  expect(own.sessions).toBe(8);
});
