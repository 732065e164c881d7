/** What a refused batch is told of passes that stopped. */
import { expect, test } from "vitest";
import { BATCH_ERRORS_MAX } from "../../../src/base/limits.ts";
import { BatchErrors } from "../../../src/gateway/http/batch-errors.ts";

/** Every so many lines have an error. */
function pass(errors: BatchErrors, { lines, every }: { readonly lines: number; readonly every: number }): void {
  for (let line = 1; line <= lines; line++) {
    if (errors.hasEndedPass()) break;
    if (line % every === 0) errors.add({ line, index: line - 1 }, "invalid-field", [{ field: "x", message: "is x" }]);
  }
}

test("each pass that stopped says behind which line, and what it did not look for", () => {
  const lines = 10 * BATCH_ERRORS_MAX;
  const errors = new BatchErrors(lines);
  pass(errors, { lines, every: 50 });
  errors.beginPass("files");
  pass(errors, { lines, every: 3 });
  errors.beginPass("modules");
  pass(errors, { lines, every: 20 });
  errors.beginPass("ids");
  pass(errors, { lines, every: 2 });
  const last = BATCH_ERRORS_MAX + 1;
  expect(errors.refusal().message).toMatch(
    new RegExp(
      `; and more; behind line ${3 * last} files were not looked for; behind line ${2 * last} ids were not looked for$`,
    ),
  );
});

test("says of lines that were not read that nothing of them was looked at", () => {
  const errors = new BatchErrors(1_000);
  pass(errors, { lines: 1_000, every: 1 });
  errors.beginPass("modules");
  pass(errors, { lines: BATCH_ERRORS_MAX, every: 1 });
  expect(errors.refusal().message).toMatch(/; and more; behind line 101 nothing was looked at$/);
});
