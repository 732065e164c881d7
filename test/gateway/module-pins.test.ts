import { describe, expect, test } from "vitest";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import { ModulePins } from "../../src/gateway/module-pins.ts";

function digestOf(digit: string): Digest {
  const digest = parseDigest(digit.repeat(64));
  if (digest === undefined) throw new Error("no digest");
  return digest;
}

const one = digestOf("1");
const other = digestOf("2");

describe("a pinned module", () => {
  test("is not retired, and another one is", async () => {
    const pins = new ModulePins();
    const retired: string[] = [];
    using _ = await pins.pin(one);
    expect(await pins.retire(one, async () => void retired.push("one"))).toBe(false);
    expect(await pins.retire(other, async () => void retired.push("other"))).toBe(true);
    expect(retired).toEqual(["other"]);
  });

  test("is retired when the last of its pins is gone", async () => {
    const pins = new ModulePins();
    const first = await pins.pin(one);
    const second = await pins.pin(one);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    expect(await pins.retire(one, async () => {})).toBe(false);
    second[Symbol.dispose]();
    expect(await pins.retire(one, async () => {})).toBe(true);
  });
});

describe("a retirement", () => {
  test("holds up those who want to pin, until it is over", async () => {
    const pins = new ModulePins();
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    const retiring = pins.retire(one, async () => {
      await gate.promise;
      order.push("retired");
    });
    const pinning = pins.pin(one).then((pin) => {
      order.push("pinned");
      return pin;
    });
    using _ = await pins.pin(other);
    gate.resolve();
    using _pin = await pinning;
    await retiring;
    expect(order).toEqual(["retired", "pinned"]);
  });

  test("that fails is told, and lets the next ones through", async () => {
    const pins = new ModulePins();
    await expect(pins.retire(one, () => Promise.reject(new Error("disk")))).rejects.toThrow("disk");
    using _ = await pins.pin(one);
  });

  test("is alone", async () => {
    const pins = new ModulePins();
    let underway = 0;
    let most = 0;
    const retire = async (): Promise<void> => {
      most = Math.max(most, ++underway);
      await Promise.resolve();
      underway--;
    };
    await Promise.all([1, 2, 3, 4].map(() => pins.retire(one, retire)));
    expect(most).toBe(1);
  });
});
