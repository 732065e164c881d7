import { expect, test } from "vitest";
import { Semaphore } from "../../../src/gateway/http/semaphore.ts";

test("lets so many work at once, and the others in the order in which they came", async () => {
  const semaphore = new Semaphore(2);
  const begun: number[] = [];
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const works = ends.map(({ promise }, index) =>
    semaphore.run(async () => {
      begun.push(index);
      await promise;
      return index;
    }),
  );
  expect(begun).toEqual([0, 1]);
  ends[1]?.resolve();
  await expect.poll(() => begun).toEqual([0, 1, 2]);
  for (const { resolve } of ends) resolve();
  expect(await Promise.all(works)).toEqual([0, 1, 2, 3, 4]);
});

test("a work that fails gives its place on", async () => {
  const semaphore = new Semaphore(1);
  const failing = semaphore.run(() => Promise.reject(new Error("broken")));
  const next = semaphore.run(() => Promise.resolve("done"));
  await expect(failing).rejects.toThrow("broken");
  expect(await next).toBe("done");
});

test("whoever gives up leaves the line at once, and takes no place", async () => {
  const semaphore = new Semaphore(1);
  const first = Promise.withResolvers<void>();
  const working = semaphore.run(() => first.promise);
  const gone = new AbortController();
  let wasCalled = false;
  const waiting = semaphore.run(
    async () => {
      wasCalled = true;
    },
    { signal: gone.signal },
  );
  const behind = semaphore.run(() => Promise.resolve("done"));
  gone.abort(new Error("left"));
  await expect(waiting).rejects.toThrow("left");
  await expect(semaphore.run(() => Promise.resolve(), { signal: gone.signal })).rejects.toThrow("left");
  first.resolve();
  await working;
  expect(await behind).toBe("done");
  expect(wasCalled).toBe(false);
  expect(await semaphore.run(() => Promise.resolve("again"))).toBe("again");
});
