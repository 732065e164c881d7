import { describe, expect, test } from "vitest";
import { SharedWork } from "../../src/base/shared-work.ts";

function begin(): { work: SharedWork<string>; finish: (text: string) => void; signals: AbortSignal[] } {
  const { promise, resolve } = Promise.withResolvers<string>();
  const signals: AbortSignal[] = [];
  const work = new SharedWork((signal) => {
    signals.push(signal);
    return promise;
  });
  return { work, finish: resolve, signals };
}

describe("shared work", () => {
  test("gives all who wait the same", async () => {
    const { work, finish } = begin();
    const { signal } = new AbortController();
    const both = Promise.all([work.join(signal), work.join(signal)]);
    finish("made");
    expect(await both).toEqual(["made", "made"]);
  });

  test("goes on while anybody waits, and stops with the last", async () => {
    const { work, signals } = begin();
    const [first, last] = [new AbortController(), new AbortController()];
    const one = work.join(first.signal);
    const other = work.join(last.signal);
    first.abort(new Error("the first has gone"));
    await expect(one).rejects.toThrow("the first has gone");
    expect(work.isAbandoned).toBe(false);
    last.abort(new Error("the last has gone"));
    await expect(other).rejects.toThrow("the last has gone");
    expect(work.isAbandoned).toBe(true);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });

  test("is given up at once by those whose signal was aborted before", async () => {
    const { work } = begin();
    await expect(work.join(AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
    expect(work.isAbandoned).toBe(true);
  });
});
