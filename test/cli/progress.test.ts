import { expect, test } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import { showProgress } from "../../src/cli/run.ts";

test("progress says what broke it, once it is no trouble of the gateway", async () => {
  const { promise: broken, resolve: onBroken } = Promise.withResolvers<unknown>();
  const failures = [disconnected("away", { code: "unreachable" }), new TypeError("broken")];
  const stop = showProgress({
    explain: () => Promise.resolve(undefined),
    getTask: () => Promise.reject(failures.shift() ?? new Error("asked again")),
    show: () => {},
    onBroken,
  });
  expect(await broken).toEqual(new TypeError("broken"));
  stop();
});

test("progress that was stopped says nothing more", async () => {
  const { promise: asked, reject } = Promise.withResolvers<never>();
  const told: unknown[] = [];
  const stop = showProgress({
    getTask: () => asked,
    explain: () => Promise.resolve(undefined),
    show: () => told.push("shown"),
    onBroken: (it) => told.push(it),
  });
  stop();
  reject(new TypeError("broken"));
  await expect(asked).rejects.toThrow();
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual([]);
});
