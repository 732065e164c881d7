import { expect, test } from "vitest";
import {
  ARGS_MAX,
  ENV_MAX,
  FRAME_BYTES_MAX,
  HELD_ATTEMPTS_MAX,
  MESSAGE_CAPABILITIES_MAX,
  OUTPUT_CHUNK_BYTES_MAX,
  SPEC_BYTES_MAX,
  STDIN_BYTES_MAX,
} from "../../src/base/limits.ts";

test("all that a worker may hold can be resumed in one message", () => {
  expect(HELD_ATTEMPTS_MAX).toBeLessThanOrEqual(MESSAGE_CAPABILITIES_MAX);
});

test("the largest specification of a run fits one message, and so does the largest piece of output", () => {
  const pointersAndPadding = (ARGS_MAX + 2 * ENV_MAX) * 16;
  expect(SPEC_BYTES_MAX).toBeGreaterThanOrEqual(STDIN_BYTES_MAX);
  expect(SPEC_BYTES_MAX + pointersAndPadding).toBeLessThan(FRAME_BYTES_MAX);
  expect(OUTPUT_CHUNK_BYTES_MAX).toBeLessThan(FRAME_BYTES_MAX);
});
