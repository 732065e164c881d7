import { describe, expect, test } from "vitest";
import { SlotQueue } from "../../../src/worker/runner/slot-queue.ts";
import { fc } from "../../support/properties.ts";

const NEVER = new AbortController().signal;

describe("a slot queue", () => {
  test("grants slots in the order they were asked for", async () => {
    const queue = new SlotQueue(1);
    const order: number[] = [];
    await queue.acquire(NEVER);
    const waiting = [1, 2, 3].map((index) => queue.acquire(NEVER).then(() => order.push(index)));
    for (const granted of waiting) {
      queue.release();
      await granted;
    }
    expect(order).toEqual([1, 2, 3]);
  });

  test("takes no slot for one whose signal is aborted", async () => {
    const queue = new SlotQueue(1);
    expect(await queue.acquire(AbortSignal.abort())).toBe(false);
    expect(queue.busy).toBe(0);
  });

  test("that is closed lets those who wait go without a slot, and grants none any more", async () => {
    const queue = new SlotQueue(1);
    await queue.acquire(NEVER);
    const waiting = queue.acquire(NEVER);
    queue.close();
    expect(await waiting).toBe(false);
    queue.release();
    expect(await queue.acquire(NEVER)).toBe(false);
    expect(queue).toMatchObject({ busy: 0, waiting: 0 });
  });

  test("neither loses nor invents a slot, whoever gives up when", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.constantFrom("acquire", "release", "abort", "turn"), { maxLength: 60 }),
        async (slots, steps) => {
          const queue = new SlotQueue(slots);
          const asked: { abort: AbortController; state: "waiting" | "held" | "gone" }[] = [];
          for (const step of steps) {
            if (step === "acquire") {
              const entry: (typeof asked)[number] = { abort: new AbortController(), state: "waiting" };
              asked.push(entry);
              void queue.acquire(entry.abort.signal).then((isGranted) => (entry.state = isGranted ? "held" : "gone"));
            } else if (step === "release") {
              const held = asked.find(({ state }) => state === "held");
              if (held === undefined) continue;
              held.state = "gone";
              queue.release();
            } else if (step === "abort") {
              asked.find(({ state }) => state === "waiting")?.abort.abort();
            } else {
              await settled();
            }
          }
          await settled();
          const count = (state: string): number => asked.filter((entry) => entry.state === state).length;
          expect(queue.busy).toBe(count("held"));
          expect(queue.waiting).toBe(count("waiting"));
          expect(queue.busy).toBeLessThanOrEqual(slots);
          expect(count("waiting") === 0 || count("held") === slots).toBe(true);
        },
      ),
    );
  });
});

/** After all that was ready to run has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
