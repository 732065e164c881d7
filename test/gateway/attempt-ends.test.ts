import { expect, test } from "vitest";
import { signOf } from "../../src/gateway/attempt-ends.ts";
import type { Outcome } from "../../src/model/outcome.ts";

test.each<[Outcome, string]>([
  [{ kind: "exited", code: 0 }, "succeeded"],
  [{ kind: "exited", code: 3 }, "failed"],
  [{ kind: "trapped", reason: "unreachable" }, "failed"],
  [{ kind: "timed-out", reason: "5 s are over" }, "failed"],
  [{ kind: "memory-exceeded", reason: "256 MiB" }, "failed"],
  [{ kind: "output-exceeded" }, "failed"],
  [{ kind: "rejected", reason: "no such import" }, "rejected"],
  [{ kind: "lost", reason: "the runner died" }, "lost"],
])("of its worker the outcome %j says: %s", (outcome, sign) => {
  expect(signOf(outcome, { isDraining: () => false }).sign).toBe(sign);
});

test("what a draining worker loses says nothing of it", () => {
  const session = { isDraining: () => true };
  expect(signOf({ kind: "lost", reason: "it was stopped" }, session)).toEqual({
    sign: "nothing",
    what: "it was stopped",
  });
  expect(signOf({ kind: "exited", code: 3 }, session).sign).toBe("failed");
});
