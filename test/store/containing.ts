import { expect } from "vitest";

/** Stands for any text that has `part` in it, in what is expected. */
export function containing(part: string): unknown {
  return expect.stringContaining(part);
}
