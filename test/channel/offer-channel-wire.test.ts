/** The offer channel, reached over connections: one for each capability that is passed. */
import { describe, expect, test } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { OfferSenderClient } from "../../src/caps/offers.ts";
import { OfferChannel } from "../../src/channel/offer-channel.ts";
import type { Capability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { type MemoryStreamPair, memoryStreamPair } from "../support/memory-byte-stream.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import {
  describeOfferChannel,
  expectReachable,
  offerOne,
  offersWaiting,
  type Passage,
  PEER,
  stateOf,
  takeOne,
  until,
} from "./offer-channel-contract.ts";

const TIMEOUT_MS = 60_000;

/** A connection with a capability at its far end, and both its ends in this process. */
class Link implements AsyncDisposable {
  readonly near: Connection;
  readonly far: Connection;
  readonly capability: Capability;
  readonly #streams: MemoryStreamPair = memoryStreamPair();

  /** Takes `capability` over. */
  constructor(capability: Capability) {
    using bootstrap = capability;
    this.far = new Connection({ stream: this.#streams.a, bootstrap, clock: systemClock, log: silentLog });
    this.near = new Connection({ stream: this.#streams.b, clock: systemClock, log: silentLog });
    this.capability = this.near.bootstrap();
  }

  /** As a process that is killed: nothing is said, nothing more is read. */
  cut(): void {
    this.#streams.b.abort(disconnected("killed"));
  }

  /** Entries of all tables, both ends. */
  get entries(): number {
    return [this.near, this.far]
      .map((end) => end.stats())
      .reduce((sum, { questions, answers, exports, imports }) => sum + questions + answers + exports + imports, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.near.close(), this.far.close()]);
    await this.#streams[Symbol.asyncDispose]();
  }
}

/** Fails when an entry of a table outlives what it was for. */
function openPassage(): Passage {
  const links: Link[] = [];
  return {
    pass: (capability) => {
      const link = new Link(capability);
      links.push(link);
      return link.capability;
    },
    [Symbol.asyncDispose]: async () => {
      await expect.poll(() => links.reduce((sum, link) => sum + link.entries, 0), { timeout: 10_000 }).toBe(0);
      for (const link of links) await link[Symbol.asyncDispose]();
    },
  };
}

describeOfferChannel("over a connection", openPassage);

describe("an offer channel and the loss of a connection", { timeout: TIMEOUT_MS }, () => {
  test("lets go of the offers of a worker whose connection is lost, and of no other's", async () => {
    using channel = new OfferChannel();
    const session = new AbortController();
    await using doomed = new Link(channel.senderFor({ peer: PEER, signal: session.signal }));
    await using other = new Link(channel.senderFor({ peer: PEER, signal: session.signal }));
    const lost = [0, 1].map((busy) => offerOne(new OfferSenderClient(doomed.capability), { state: stateOf({ busy }) }));
    await offersWaiting(channel, 2);
    const kept = offerOne(new OfferSenderClient(other.capability), { state: stateOf({ busy: 2 }) });
    await offersWaiting(channel, 3);
    doomed.cut();
    for (const offer of lost) {
      await expect(offer.sent).rejects.toMatchObject({ type: "disconnected" });
      await offer.worker.dropped;
    }
    await offersWaiting(channel, 1);
    const taken = await takeOne(channel);
    using worker = taken.worker;
    expect(taken.state.busy).toBe(2);
    await kept.sent;
    await expectReachable(worker);
  });

  test("fails the worker that was taken, not its taker, when the connection is lost", async () => {
    using channel = new OfferChannel();
    await using link = new Link(channel.senderFor({ peer: PEER, signal: new AbortController().signal }));
    const { sent } = offerOne(new OfferSenderClient(link.capability));
    using worker = (await takeOne(channel)).worker;
    await sent;
    link.cut();
    await expect(expectReachable(worker)).rejects.toThrow();
    expect(worker.broken.aborted || link.far.ended.aborted).toBe(true);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "delivers each offer once or drops it, with connections cut and calls cancelled at random (seed %d)",
    async (seed) => {
      await playAtRandom(new SeededRandom(seed));
    },
  );
});

interface PlayedOffer {
  readonly link: Link;
  readonly cancel: AbortController;
  readonly offer: ReturnType<typeof offerOne>;
  fate: "waiting" | "returned" | "failed";
  taken: number;
}

/** Some workers that offer, cancel and die, and a dispatcher that takes what it likes, turn by turn. */
async function playAtRandom(random: SeededRandom): Promise<void> {
  using channel = new OfferChannel();
  await using stack = new AsyncDisposableStack();
  const taken = stack.use(new DisposableStack());
  const links: Link[] = [];
  const cutLinks = new Set<Link>();
  const offers: PlayedOffer[] = [];
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random.next() * items.length)];
  const connect = (): void => {
    links.push(stack.use(new Link(channel.senderFor({ peer: PEER, signal: new AbortController().signal }))));
  };
  const offer = (link: Link): void => {
    const cancel = new AbortController();
    const state = stateOf({ weight: offers.length });
    const made = offerOne(new OfferSenderClient(link.capability), { state, signal: cancel.signal });
    const played: PlayedOffer = { link, cancel, offer: made, fate: "waiting", taken: 0 };
    offers.push(played);
    made.sent.then(
      () => (played.fate = "returned"),
      () => (played.fate = "failed"),
    );
  };
  const take = (): void => {
    const chosen = pick(channel.offers.waiting());
    const offered = chosen && channel.offers.take(chosen);
    if (offered === undefined) return;
    taken.use(offered.worker);
    const played = offers[offered.state.weight];
    if (played === undefined) throw new Error("an offer that nobody made");
    played.taken++;
    // What the gateway's end of the connection knows to be over cannot be taken any more.
    expect(played.link.far.ended.aborted).toBe(false);
  };
  connect();
  for (let turn = 0; turn < 400; turn++) {
    const chance = random.next();
    const link = pick(links.filter((candidate) => !cutLinks.has(candidate)));
    if (link === undefined || chance < 0.03) connect();
    else if (chance < 0.4) offer(link);
    else if (chance < 0.65) take();
    else if (chance < 0.75) pick(offers)?.cancel.abort(new Error("cancelled"));
    else if (chance < 0.77) {
      cutLinks.add(link);
      link.cut();
    } else await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => {
    take();
    return offers.every(({ fate, taken: times }) => fate !== "waiting" || times > 0);
  }, "every offer is taken, or has failed");
  await Promise.allSettled(offers.map((played) => played.offer.sent));
  for (const played of offers) {
    expect(played.taken).toBeLessThanOrEqual(1);
    // A call returns only for an offer that was taken; one that failed may have been, when its answer was lost.
    if (played.fate === "returned") expect(played.taken).toBe(1);
    if (played.fate === "failed" && !played.cancel.signal.aborted && !cutLinks.has(played.link)) {
      expect.unreachable("an offer failed though nobody cancelled it or cut it off");
    }
    if (played.taken === 0) await played.offer.worker.dropped;
  }
  taken.dispose();
  for (const played of offers) await played.offer.worker.dropped;
  // The worker's end of a connection that was cut knows of it before the gateway's.
  await offersWaiting(channel, 0);
  await expect.poll(() => channel.waitingOf(PEER)).toBe(0);
}
