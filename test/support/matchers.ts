/** vitest's matchers for parts of an expected value, typed so that they make nothing around them `any`. */
import { expect } from "vitest";

export function containing(text: string): unknown {
  return expect.stringContaining(text);
}

export function notContaining(text: string): unknown {
  return expect.not.stringContaining(text);
}

export function matching(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}

export function anyString(): unknown {
  return expect.any(String);
}

export function anyNumber(): unknown {
  return expect.any(Number);
}
