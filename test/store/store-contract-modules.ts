/** The store's contract: modules that are held by themselves, how they are listed, and when they are let go. */
import { expect, test } from "vitest";
import type { Digest } from "../../src/base/ids.ts";
import { HELD_MODULE_AGE_GRAIN_MS } from "../../src/base/limits.ts";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import { INSPECTION, T0, create, digest, taskId, taskSpec } from "./store-samples.ts";

const HOUR_MS = 3_600_000;

export function describeModules(open: OpenStore): void {
  test("a module that came by itself is held, and known when it comes again", async () => {
    await using harness = await open();
    const { store } = harness;
    expect(await store.isBlobUsed(digest())).toBe(false);
    const module = { digest: digest(), inspection: INSPECTION, createdAt: T0 };
    expect(await store.holdModule(digest(), INSPECTION, T0)).toEqual({ kind: "held", isNew: true, module });
    expect(await store.isBlobUsed(digest())).toBe(true);
    expect(await store.holdModule(digest(), INSPECTION, T0 + 5)).toEqual({ kind: "held", isNew: false, module });
    expect(await store.getModule(digest())).toEqual(module);
  });

  test("a task's module is known already, and stays held when the task goes", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    expect(await store.holdModule(digest(), INSPECTION, T0 + 5)).toMatchObject({ kind: "held", isNew: false });
    await store.deleteTask(taskId("a"));
    expect(await store.isBlobUsed(digest())).toBe(true);
    expect(await listed(store)).toEqual([digest()]);
  });

  test("what nobody has any more is not listed, and is new when it comes back", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await store.deleteTask(taskId("a"));
    expect(await listed(store)).toEqual([]);
    await create(store, taskSpec("b", { module: digest("b") }), T0 + 10);
    await create(store, taskSpec("a"), T0 + 20);
    expect(await listed(store)).toEqual([digest(), digest("b")]);
    await store.deleteTask(taskId("b"));
    const back = await store.holdModule(digest("b"), INSPECTION, T0 + 30);
    expect(back).toMatchObject({ isNew: true, module: { createdAt: T0 + 30 } });
    expect(await listed(store)).toEqual([digest("b"), digest()]);
  });

  test("pages are newest first, and stable while others come", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const digit of ["a", "b", "c", "d"])
      await store.holdModule(digest(digit), INSPECTION, T0 + (digit > "b" ? 1 : 0));
    const first = await store.listModules({ limit: 3 });
    expect(first.modules.map((module) => module.digest)).toEqual([digest("d"), digest("c"), digest("b")]);
    await store.holdModule(digest("e"), INSPECTION, T0 + 2);
    const second = await store.listModules({ limit: 3, cursor: first.cursor });
    expect(second.modules.map((module) => module.digest)).toEqual([digest("a")]);
    expect(second.cursor).toBeUndefined();
    await expect(store.listModules({ limit: 3, cursor: "bm9uc2Vuc2U" })).rejects.toMatchObject({
      code: "invalid-cursor",
    });
  });

  test("is released when it is old and no task uses it, the oldest first", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [index, digit] of ["a", "b", "c", "d"].entries()) {
      await store.holdModule(digest(digit), INSPECTION, T0 + index);
    }
    await create(store, taskSpec("user", { module: digest("b") }));
    const later = T0 + HOUR_MS;
    const one = await store.releaseModules(T0 + 3, 2, later);
    expect(one).toEqual({ released: [digest("a")], isThrough: false });
    const two = await store.releaseModules(T0 + 3, 2, later);
    expect(two).toEqual({ released: [digest("c")], isThrough: true });
    expect(await store.isBlobUsed(digest("a"))).toBe(false);
    expect(await listed(store)).toEqual([digest("d"), digest("b")]);
    // It counts as named when it was looked at.
    await store.deleteTask(taskId("user"));
    expect((await store.releaseModules(later, 10, later)).released).toEqual([digest("d")]);
    expect((await store.releaseModules(later + 1, 10, later + 1)).released).toEqual([digest("b")]);
  });

  test("is released when it has been held since then or later, where that is asked for", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [index, digit] of ["a", "b", "c", "d"].entries()) {
      await store.holdModule(digest(digit), INSPECTION, T0 + index);
    }
    const later = T0 + HOUR_MS;
    const one = await store.releaseModules(T0 + 3, 1, later, T0 + 1);
    expect(one).toEqual({ released: [digest("b")], isThrough: false });
    expect((await store.releaseModules(T0 + 3, 10, later, T0 + 1)).released).toEqual([digest("c")]);
    expect(await listed(store)).toEqual([digest("d"), digest("a")]);
  });

  test("a submission that names a held module makes it young again", async () => {
    await using harness = await open();
    const { store } = harness;
    await store.holdModule(digest(), INSPECTION, T0);
    const named = T0 + HELD_MODULE_AGE_GRAIN_MS + 1;
    await create(store, taskSpec("a"), named);
    await store.deleteTask(taskId("a"));
    expect((await store.releaseModules(named, 10, named + 1)).released).toEqual([]);
    expect((await store.releaseModules(named + 1, 10, named + 1)).released).toEqual([digest()]);
  });

  test("what is held survives the store", async () => {
    await using harness = await open();
    await harness.store.holdModule(digest(), INSPECTION, T0);
    await harness.reopen?.();
    expect(await harness.store.isBlobUsed(digest())).toBe(true);
    expect(await listed(harness.store)).toEqual([digest()]);
  });
}

async function listed(store: Store): Promise<readonly Digest[]> {
  return (await store.listModules({ limit: 100 })).modules.map((module) => module.digest);
}
