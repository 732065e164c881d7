import { describe, expect, test } from "vitest";
import { cutTo, mib, shortened } from "../../src/base/wording.ts";

describe("a text of a stranger", () => {
  test("that is short stays as it is", () => {
    expect([cutTo(3, "abc"), shortened(3, "abc")]).toEqual(["abc", "abc"]);
  });

  test("that is long is cut, and no half of a character left", () => {
    expect([cutTo(3, "abcd"), shortened(3, "abcd")]).toEqual(["abc", "abc…"]);
    expect([cutTo(3, "ab😀"), shortened(3, "ab😀")]).toEqual(["ab\ufffd", "ab\ufffd…"]);
  });
});

test.each([
  [0, "0"],
  [1_048_576, "1"],
  [1_572_864, "1.5"],
])("%d bytes are %s MiB", (bytes, text) => expect(mib(bytes)).toBe(text));
