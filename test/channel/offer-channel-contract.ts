/** What an offer channel does for its workers, however they reach it. */
import { describe, expect, test } from "vitest";
import { OFFERS_PER_PEER_MAX, SLOTS_MAX } from "../../src/base/limits.ts";
import { disconnected, failed } from "../../src/base/errors.ts";
import { type PeerId, parsePeerId } from "../../src/base/ids.ts";
import { ChannelCloserClient, OfferReceiverClient, type OfferedWorker } from "../../src/caps/channel-facets.ts";
import { OfferSenderClient } from "../../src/caps/offers.ts";
import { OfferChannel, type WorkerOffer } from "../../src/channel/offer-channel.ts";
import { OfferSender$Client } from "../../src/generated/channel.ts";
import { Worker$Client } from "../../src/generated/worker.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { type Capability, setCapability } from "../../src/rpc/capability.ts";
import { serve } from "../../src/rpc/server.ts";

/** A way from a capability here to whoever uses it. */
export interface Passage extends AsyncDisposable {
  /** The capability as its user has it, owned by the caller. Takes `capability` over. */
  pass(capability: Capability): Capability;
}

const TIMEOUT_MS = 60_000;
const WAIT_MS_MAX = 20_000;

export const PEER = testPeer("1");
export const OTHER_PEER = testPeer("2");

function testPeer(digit: string): PeerId {
  const peer = parsePeerId(`12D3${digit.repeat(44)}`);
  if (peer === undefined) throw new Error("not a peer id");
  return peer;
}

export function stateOf(state: Partial<WorkerState> = {}): WorkerState {
  return { slots: 4, busy: 1, weight: 7, labels: { zone: "a" }, version: "1.0.0", cachedModules: [], ...state };
}

/** A worker that only says that it was reached, and when it was dropped. */
export class TestWorker implements Disposable {
  readonly capability: Capability;
  readonly dropped: Promise<void>;
  isDropped = false;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.dropped = promise;
    this.capability = serve(Worker$Client, {
      run: () => {
        throw failed("reached", { code: "reached" });
      },
      [Symbol.dispose]: () => {
        this.isDropped = true;
        resolve();
      },
    });
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** Offers a new worker, whose own reference is given up: what is left of it is the offer. */
export function offerOne(
  sender: OfferSenderClient,
  { state = stateOf(), signal }: { state?: WorkerState; signal?: AbortSignal } = {},
): { readonly worker: TestWorker; readonly sent: Promise<void> } {
  using worker = new TestWorker();
  const sent = sender.send(worker.capability, state, { signal });
  // A test that is about something else need not look at it.
  sent.catch(() => {});
  return { worker, sent };
}

export async function expectReachable(worker: Capability): Promise<void> {
  using answer = worker.call(Worker$Client.methods[0]);
  await expect(answer.result()).rejects.toMatchObject({ message: "reached" });
}

/** Resolves when the condition holds; fails when it does not within the time that a test may spend on it. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > WAIT_MS_MAX) throw new Error(`never came to hold: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves when `count` offers wait. */
export async function offersWaiting(channel: OfferChannel, count: number): Promise<void> {
  await until(() => channel.offers.waiting().length === count, `${count} offers wait`);
}

/** Takes the offer that has waited longest, when there is one. */
export async function takeOne(channel: OfferChannel): Promise<WorkerOffer> {
  for (;;) {
    await until(() => channel.offers.waiting().length > 0, "an offer waits");
    const [offer] = channel.offers.waiting();
    const taken = offer && channel.offers.take(offer);
    if (taken !== undefined) return taken;
  }
}

/** A channel with one session on it. */
export class ChannelHarness implements AsyncDisposable {
  readonly channel = new OfferChannel();
  readonly session = new AbortController();
  readonly passage: Passage;
  readonly sender: OfferSenderClient;

  constructor(passage: Passage) {
    this.passage = passage;
    this.sender = new OfferSenderClient(
      passage.pass(this.channel.senderFor({ peer: PEER, signal: this.session.signal })),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sender[Symbol.dispose]();
    this.channel.close();
    await this.passage[Symbol.asyncDispose]();
    await until(() => this.channel.waitingOf(PEER) === 0, "no call waits");
  }
}

export function describeOfferChannel(name: string, openPassage: () => Passage): void {
  const open = (): ChannelHarness => new ChannelHarness(openPassage());

  describe(`an offer channel used ${name}`, { timeout: TIMEOUT_MS }, () => {
    test("gives an offer with its state, and the peer of its session, to who takes it", async () => {
      await using harness = open();
      const state = stateOf({ labels: { zone: "b", constructor: "x" } });
      const { sent, worker } = offerOne(harness.sender, { state });
      const taken = await takeOne(harness.channel);
      await sent;
      expect([taken.peer, taken.state]).toEqual([PEER, state]);
      await expectReachable(taken.worker);
      taken.worker[Symbol.dispose]();
      await worker.dropped;
    });

    test("is synchronous: the call returns when the offer is taken and not before", async () => {
      await using harness = open();
      const order: string[] = [];
      const { sent } = offerOne(harness.sender);
      const returned = sent.then(() => order.push("returned"));
      await offersWaiting(harness.channel, 1);
      order.push("waiting");
      using taken = (await takeOne(harness.channel)).worker;
      order.push("taken");
      await returned;
      expect(order).toEqual(["waiting", "taken", "returned"]);
      await expectReachable(taken);
    });

    test("leaves a worker that was taken to its taker: it outlives sender, session and channel", async () => {
      await using harness = open();
      const { sent, worker } = offerOne(harness.sender);
      const taken = await takeOne(harness.channel);
      await sent;
      harness.session.abort(disconnected("the session has ended"));
      harness.sender[Symbol.dispose]();
      harness.channel.close();
      await expectReachable(taken.worker);
      expect(worker.isDropped).toBe(false);
      taken.worker[Symbol.dispose]();
      await worker.dropped;
    });

    test("keeps the order of the calls", async () => {
      await using harness = open();
      const sent = Array.from({ length: 20 }, (_, busy) =>
        offerOne(harness.sender, { state: stateOf({ slots: 20, busy }) }),
      );
      await offersWaiting(harness.channel, 20);
      const order: number[] = [];
      for (let count = 0; count < 20; count++) {
        using worker = await takeWorker(harness.channel, order);
        expect(worker).toBeDefined();
      }
      expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
      await Promise.all(sent.map((offer) => offer.sent));
    });

    test("lets go of an offer whose call is cancelled, and of its worker", async () => {
      await using harness = open();
      const abort = new AbortController();
      const cancelled = offerOne(harness.sender, { signal: abort.signal });
      const other = offerOne(harness.sender);
      await offersWaiting(harness.channel, 2);
      // Held, so that the worker's reference is disposed and not merely collected.
      const held = harness.channel.offers.waiting();
      abort.abort(new Error("no longer free"));
      await expect(cancelled.sent).rejects.toThrow("no longer free");
      await until(() => cancelled.worker.isDropped, "the worker is dropped");
      expect(held.length).toBe(2);
      await offersWaiting(harness.channel, 1);
      using taken = (await takeOne(harness.channel)).worker;
      await other.sent;
      await expectReachable(taken);
    });

    test("lets go of all offers of a session that ends, and of no other's", async () => {
      await using harness = open();
      const own = [offerOne(harness.sender), offerOne(harness.sender)];
      using neighbour = new OfferSenderClient(
        harness.channel.senderFor({ peer: OTHER_PEER, signal: new AbortController().signal }),
      );
      const others = offerOne(neighbour);
      await offersWaiting(harness.channel, 3);
      const held = harness.channel.offers.waiting();
      harness.session.abort(disconnected("the session has ended", { code: "session-ended" }));
      expect(harness.channel.offers.waiting().map((offer) => offer.value.peer)).toEqual([OTHER_PEER]);
      for (const offer of own) {
        await expect(offer.sent).rejects.toMatchObject({ type: "disconnected", message: "the session has ended" });
        await until(() => offer.worker.isDropped, "the worker is dropped");
      }
      expect(held.length).toBe(3);
      const late = offerOne(harness.sender);
      await expect(late.sent).rejects.toMatchObject({ type: "disconnected" });
      await late.worker.dropped;
      using taken = (await takeOne(harness.channel)).worker;
      await others.sent;
      await expectReachable(taken);
    });

    test("fails all offers, waiting and later, once it is closed", async () => {
      await using harness = open();
      const waiting = offerOne(harness.sender);
      await offersWaiting(harness.channel, 1);
      using closer = new ChannelCloserClient(harness.passage.pass(harness.channel.closer()));
      await closer.close();
      await closer.close();
      await expect(waiting.sent).rejects.toMatchObject({ type: "disconnected" });
      await expect(offerOne(harness.sender).sent).rejects.toMatchObject({ type: "disconnected" });
      await waiting.worker.dropped;
    });

    test("serves receivers, first come, first served", async () => {
      await using harness = open();
      using receiver = new OfferReceiverClient(harness.passage.pass(harness.channel.receiver()));
      const received = [receiver.recv(), receiver.recv()];
      const sent = [0, 1].map((busy) => offerOne(harness.sender, { state: stateOf({ busy }) }));
      const offers: OfferedWorker[] = await Promise.all(received);
      expect(offers.map((offer) => offer.state.busy)).toEqual([0, 1]);
      await Promise.all(sent.map((offer) => offer.sent));
      for (const { worker } of offers) {
        await expectReachable(worker);
        worker[Symbol.dispose]();
      }
      await Promise.all(sent.map((offer) => offer.worker.dropped));
    });

    test("takes a receiver whose call is cancelled out of the queue", async () => {
      await using harness = open();
      using receiver = new OfferReceiverClient(harness.passage.pass(harness.channel.receiver()));
      const abort = new AbortController();
      const cancelled = receiver.recv({ signal: abort.signal });
      await until(() => harness.channel.receiversWaiting === 1, "the receiver waits");
      abort.abort(new Error("enough"));
      await expect(cancelled).rejects.toThrow("enough");
      await until(() => harness.channel.receiversWaiting === 0, "no receiver waits");
      const { sent } = offerOne(harness.sender);
      using taken = (await takeOne(harness.channel)).worker;
      await sent;
      await expectReachable(taken);
    });

    test("refuses an offer without a worker, and one whose state is past the limits", async () => {
      await using harness = open();
      using answer = harness.sender.capability.call(OfferSender$Client.methods[0], (params) => {
        setCapability(params, 0, undefined);
      });
      await expect(answer.result()).rejects.toMatchObject({ type: "failed" });
      const tooMany = offerOne(harness.sender, { state: stateOf({ slots: SLOTS_MAX + 1 }) });
      await expect(tooMany.sent).rejects.toMatchObject({ type: "failed" });
      await tooMany.worker.dropped;
      const labels = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`label${index}`, "x"]));
      await expect(offerOne(harness.sender, { state: stateOf({ labels }) }).sent).rejects.toMatchObject({
        type: "failed",
      });
      expect(harness.channel.offers.waiting().length).toBe(0);
    });

    test("refuses the offers of one peer above its limit, on all its sessions together, and no other peer's", async () => {
      await using harness = open();
      using worker = new TestWorker();
      const sent: Promise<void>[] = [];
      for (let count = 0; count < OFFERS_PER_PEER_MAX; count++) {
        sent.push(harness.sender.send(worker.capability, stateOf()));
        sent.at(-1)?.catch(() => {});
      }
      await offersWaiting(harness.channel, OFFERS_PER_PEER_MAX);
      expect(harness.channel.waitingOf(PEER)).toBe(OFFERS_PER_PEER_MAX);
      using again = new OfferSenderClient(
        harness.passage.pass(harness.channel.senderFor({ peer: PEER, signal: harness.session.signal })),
      );
      await expect(offerOne(again).sent).rejects.toMatchObject({ type: "overloaded" });
      using neighbour = new OfferSenderClient(
        harness.passage.pass(harness.channel.senderFor({ peer: OTHER_PEER, signal: harness.session.signal })),
      );
      const others = offerOne(neighbour);
      await offersWaiting(harness.channel, OFFERS_PER_PEER_MAX + 1);
      harness.session.abort(disconnected("the session has ended"));
      await Promise.allSettled([...sent, others.sent]);
    });
  });
}

async function takeWorker(channel: OfferChannel, order: number[]): Promise<Capability> {
  const taken = await takeOne(channel);
  order.push(taken.state.busy);
  return taken.worker;
}
