import { describe, expect, test } from "vitest";
import { Rendezvous } from "../../src/channel/rendezvous.ts";
import { FACETS, ModelledRendezvous, type Operation } from "./rendezvous-model.ts";
import { fc } from "../support/properties.ts";

interface Item {
  readonly id: number;
}

function open(waitersMax?: number): { rendezvous: Rendezvous<Item>; dropped: number[] } {
  const dropped: number[] = [];
  const rendezvous = new Rendezvous<Item>({ drop: (item) => dropped.push(item.id), waitersMax });
  return { rendezvous, dropped };
}

/** Whether the promise is settled, once all promise callbacks have run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  const later = new Promise((resolve) => setImmediate(resolve, pending));
  const settled = promise.then(
    () => true,
    () => true,
  );
  return (await Promise.race([settled, later])) !== pending;
}

const pick = fc.nat({ max: 1_000 });
const facet = fc.nat({ max: FACETS - 1 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("send" as const), facet: fc.option(facet, { nil: undefined }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("send-aborted" as const) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("recv" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("cancel-send" as const), pick }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("cancel-send-while-taking" as const), pick }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("cancel-recv" as const), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel-recv-while-sending" as const), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut-off" as const), facet }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut-off-while-taking" as const), facet }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("take-first" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("take-chosen" as const), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("take-remembered" as const), pick }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("let-promises-run" as const) }) },
);

describe("Rendezvous", () => {
  test("loses no offer, gives none twice, and none whose sender is gone, in any interleaving", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
        const modelled = new ModelledRendezvous();
        for (const next of operations) await modelled.do(next);
        await modelled.finish();
      }),
      { numRuns: 500 },
    );
  }, 60_000);

  test("does the same when it is closed half way", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { maxLength: 20 }),
        fc.array(operation, { maxLength: 20 }),
        async (before, after) => {
          const modelled = new ModelledRendezvous();
          for (const next of [...before, { kind: "close" } as const, ...after]) await modelled.do(next);
          await modelled.finish();
        },
      ),
      { numRuns: 200 },
    );
  }, 60_000);

  test("is synchronous: a send waits until its value is taken", async () => {
    const { rendezvous } = open();
    const sent = rendezvous.send({ id: 1 });
    expect(await isSettled(sent)).toBe(false);
    expect(await rendezvous.recv()).toEqual({ id: 1 });
    await sent;
  });

  test("pairs first with first on both sides", async () => {
    const { rendezvous } = open();
    const received = [rendezvous.recv(), rendezvous.recv()];
    const sent = [1, 2, 3].map((id) => rendezvous.send({ id }));
    received.push(rendezvous.recv());
    expect(await Promise.all(received)).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }]);
    await Promise.all(sent);
  });

  test("refuses the sender above its limit and drops the value", async () => {
    const { rendezvous, dropped } = open(1);
    const waiting = rendezvous.send({ id: 1 });
    await expect(rendezvous.send({ id: 2 })).rejects.toMatchObject({ type: "overloaded", code: "channel-full" });
    expect(dropped).toEqual([2]);
    expect(rendezvous.tryTakeFirst()).toEqual({ id: 1 });
    await waiting;
  });

  test("refuses the receiver above its limit", async () => {
    const { rendezvous } = open(1);
    const waiting = rendezvous.recv();
    await expect(rendezvous.recv()).rejects.toMatchObject({ type: "overloaded", code: "channel-full" });
    await rendezvous.send({ id: 1 });
    expect(await waiting).toEqual({ id: 1 });
  });

  test("fails all that wait, and all that come, once it is closed", async () => {
    const { rendezvous, dropped } = open();
    const waiting = rendezvous.send({ id: 1 });
    rendezvous.close("the gateway stops");
    rendezvous.close("again");
    const closed = { type: "disconnected", code: "channel-closed", message: "the gateway stops" };
    await expect(waiting).rejects.toMatchObject(closed);
    await expect(rendezvous.send({ id: 2 })).rejects.toMatchObject(closed);
    await expect(rendezvous.recv()).rejects.toMatchObject(closed);
    expect(dropped).toEqual([1, 2]);
  });

  test("lets a listener take the offer that it is told of", async () => {
    const { rendezvous } = open();
    const taken: unknown[] = [];
    const listening = rendezvous.onOffer(() => taken.push(rendezvous.tryTakeFirst()));
    await rendezvous.send({ id: 1 });
    listening[Symbol.dispose]();
    const second = rendezvous.send({ id: 2 });
    expect(taken).toEqual([{ id: 1 }]);
    expect(rendezvous.tryTakeFirst()).toEqual({ id: 2 });
    await second;
  });

  test("takes no offer of another rendezvous", async () => {
    const [one, other] = [open().rendezvous, open().rendezvous];
    const sent = one.send({ id: 1 });
    const [offer] = one.waiting();
    expect(offer && other.take(offer)).toBeUndefined();
    expect(offer && one.take(offer)).toEqual({ id: 1 });
    await sent;
  });

  test("stays whole when dropping a value sends, takes and closes", async () => {
    const dropped: number[] = [];
    const later: Promise<void>[] = [];
    const abort = new AbortController();
    const rendezvous: Rendezvous<Item> = new Rendezvous<Item>({
      drop: (item) => {
        dropped.push(item.id);
        if (item.id === 1) later.push(rendezvous.send({ id: 10 }), rendezvous.send({ id: 11 }));
        if (item.id === 2) rendezvous.close();
      },
    });
    const facet = rendezvous.sender({ signal: abort.signal });
    later.push(facet.send({ id: 1 }), facet.send({ id: 2 }), facet.send({ id: 3 }), rendezvous.send({ id: 4 }));
    abort.abort(new Error("gone"));
    const settled = await Promise.allSettled(later);
    expect(settled.every((result) => result.status === "rejected")).toBe(true);
    expect(dropped.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 10, 11]);
  });

  test("leaves no listener on a signal that outlives the call", async () => {
    const { rendezvous } = open();
    const abort = new AbortController();
    const added: unknown[] = [];
    const removed: unknown[] = [];
    const signal = new Proxy(abort.signal, {
      get(target, key) {
        if (key === "addEventListener") return (_type: string, listener: unknown) => added.push(listener);
        if (key === "removeEventListener") return (_type: string, listener: unknown) => removed.push(listener);
        const value: unknown = Reflect.get(target, key, target);
        return value;
      },
    });
    const sent = rendezvous.send({ id: 1 }, { signal });
    await rendezvous.recv({ signal });
    await sent;
    const received = rendezvous.recv({ signal });
    await rendezvous.send({ id: 2 }, { signal });
    await received;
    expect(added.length).toBe(2);
    expect(removed).toEqual(added);
  });

  test("withdraws any of many waiting senders in constant time", async () => {
    const { rendezvous, dropped } = open();
    const count = 20_000;
    const aborts = Array.from({ length: count }, () => new AbortController());
    const sent = aborts.map((abort, id) => rendezvous.send({ id }, { signal: abort.signal }));
    for (const abort of aborts.toReversed()) abort.abort();
    const settled = await Promise.allSettled(sent);
    expect(settled.every((result) => result.status === "rejected")).toBe(true);
    expect([dropped.length, rendezvous.offersWaiting]).toEqual([count, 0]);
  }, 30_000);
});
