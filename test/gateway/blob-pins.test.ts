import { describe, expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import type { Digest } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { BlobPins } from "../../src/gateway/blob-pins.ts";
import { digest } from "../store/store-samples.ts";

const ONE = digest("1");
const OTHER = digest("2");

/** Modules, those that tasks use among them, and what happens to them in its order. */
class Shelf {
  readonly modules = new Set<Digest>();
  readonly used = new Set<Digest>();
  readonly order: string[] = [];
  isBroken = false;
  /** A deletion waits for it. */
  gate: Promise<void> = Promise.resolve();
  underway = 0;
  mostUnderway = 0;
  readonly pins: BlobPins;

  constructor(...modules: readonly Digest[]) {
    for (const module of modules) this.modules.add(module);
    this.pins = new BlobPins({
      store: { isBlobUsed: async (module) => this.used.has(module) },
      blobs: { delete: (module) => this.#delete(module), list: () => this.#list() },
      log: silentLog,
    });
  }

  async #delete(module: Digest): Promise<void> {
    this.mostUnderway = Math.max(this.mostUnderway, ++this.underway);
    await this.gate;
    this.underway--;
    if (this.isBroken) throw failed("the disk does not answer");
    this.order.push("deleted");
    this.modules.delete(module);
  }

  async *#list(): AsyncGenerator<Digest, void> {
    for (const module of this.modules) {
      await Promise.resolve();
      yield module;
    }
  }
}

describe("a pinned blob", () => {
  test("is not retired, and another one is", async () => {
    const shelf = new Shelf(ONE, OTHER);
    using _ = await shelf.pins.pin(ONE);
    await shelf.pins.retireUnused(ONE);
    await shelf.pins.retireUnused(OTHER);
    expect([...shelf.modules]).toEqual([ONE]);
  });

  test("is retired when the last of its pins is gone", async () => {
    const shelf = new Shelf(ONE);
    const first = await shelf.pins.pin(ONE);
    const second = await shelf.pins.pin(ONE);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await shelf.pins.retireUnused(ONE);
    expect(shelf.modules.size).toBe(1);
    second[Symbol.dispose]();
    await shelf.pins.retireUnused(ONE);
    expect(shelf.modules.size).toBe(0);
  });
});

describe("a retirement", () => {
  test("is looked at again when the last pin goes, if somebody wanted it gone meanwhile", async () => {
    const shelf = new Shelf(ONE);
    const pin = await shelf.pins.pin(ONE);
    await shelf.pins.retireUnused(ONE);
    pin[Symbol.dispose]();
    // It comes after the retirement.
    (await shelf.pins.pin(ONE))[Symbol.dispose]();
    expect(shelf.order).toEqual(["deleted"]);
  });

  test("leaves a blob that something refers to", async () => {
    const shelf = new Shelf(ONE);
    shelf.used.add(ONE);
    await shelf.pins.retireUnused(ONE);
    expect(shelf.modules.size).toBe(1);
  });

  test("holds up those who want to pin, until it is over", async () => {
    const shelf = new Shelf(ONE);
    const gate = Promise.withResolvers<void>();
    shelf.gate = gate.promise;
    const retiring = shelf.pins.retireUnused(ONE);
    const pinning = shelf.pins.pin(ONE).then((pin) => {
      shelf.order.push("pinned");
      return pin;
    });
    using _ = await shelf.pins.pin(OTHER);
    gate.resolve();
    using _pin = await pinning;
    await retiring;
    expect(shelf.order).toEqual(["deleted", "pinned"]);
  });

  test("that fails lets the next ones through", async () => {
    const shelf = new Shelf(ONE);
    shelf.isBroken = true;
    await shelf.pins.retireUnused(ONE);
    using _ = await shelf.pins.pin(ONE);
    expect(shelf.modules.size).toBe(1);
  });

  test("is alone", async () => {
    const shelf = new Shelf(ONE);
    await Promise.all([1, 2, 3, 4].map(() => shelf.pins.retireUnused(ONE)));
    expect(shelf.mostUnderway).toBe(1);
  });
});

describe("a sweep", () => {
  test("retires what is neither used nor pinned", async () => {
    const used = digest("3");
    const shelf = new Shelf(ONE, OTHER, used);
    shelf.used.add(used);
    using _ = await shelf.pins.pin(ONE);
    await shelf.pins.sweep();
    expect([...shelf.modules]).toEqual([ONE, used]);
  });

  test("goes on where the list of what was freed ends", async () => {
    const shelf = new Shelf(ONE, OTHER);
    await shelf.pins.retireFreed({ digests: [ONE], hasMore: true });
    await shelf.pins.sweep();
    expect(shelf.modules.size).toBe(0);
  });

  test("ends when the disk fails, and can be tried again", async () => {
    const shelf = new Shelf(ONE, OTHER);
    shelf.isBroken = true;
    await shelf.pins.sweep();
    expect(shelf.modules.size).toBe(2);
    shelf.isBroken = false;
    await shelf.pins.sweep();
    expect(shelf.modules.size).toBe(0);
  });

  test("does nothing once it is closed", async () => {
    const shelf = new Shelf(ONE);
    await shelf.pins.close();
    await shelf.pins.sweep();
    expect(shelf.modules.size).toBe(1);
  });
});
