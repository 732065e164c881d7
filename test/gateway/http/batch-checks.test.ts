/** What is looked up of the lines of a batch to say all that is wrong with them. */
import { describe, expect, test } from "vitest";
import { batchLines } from "../../../src/api/batch.ts";
import { LOOP_TURN_MS_MAX } from "../../../src/base/limits.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { checkIds, readLines } from "../../../src/gateway/http/batch-checks.ts";
import { BatchErrors } from "../../../src/gateway/http/batch-errors.ts";

const MODULE = "a".repeat(64);

describe("the ids of a batch", () => {
  test("are looked up in pieces: others have their turn in between", async () => {
    const count = 500;
    const text = Array.from({ length: count }, (_, each) => `{"module":"${MODULE}","id":"t${each}"}\n`).join("");
    const errors = new BatchErrors(count);
    const lines = await readLines(batchLines(text, { max: count }), systemClock, errors);
    let turns = 0;
    let isOver = false;
    const countTurn = (): void => {
      turns++;
      if (!isOver) setImmediate(countTurn);
    };
    setImmediate(countTurn);
    let elapsedMs = 0;
    const clock = { monotonicMs: () => (elapsedMs += LOOP_TURN_MS_MAX) };
    await checkIds({ store: { findTasks: () => Promise.resolve([]) }, clock }, lines, errors);
    isOver = true;
    expect(errors.isEmpty).toBe(true);
    // Once for each line to gather what it names, once to look at it.
    expect(turns).toBeGreaterThanOrEqual(2 * count - 1);
  });
});
