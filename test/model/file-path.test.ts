import { describe, expect, test } from "vitest";
import { FILE_NAME_BYTES_MAX, FILE_PATH_BYTES_MAX } from "../../src/base/limits.ts";
import { foldersAbove, isFilePath, parseFilePath } from "../../src/model/file-path.ts";
import { fc } from "../support/properties.ts";

describe("a file's path", () => {
  test.each([
    ["a", "a"],
    ["a/b.txt", "a/b.txt"],
    ["./a/./b", "a/b"],
    ["...", "..."],
    ["a\\b", "a\\b"],
    ["ä/🙂", "ä/🙂"],
    ["__proto__/constructor", "__proto__/constructor"],
    ["x".repeat(FILE_NAME_BYTES_MAX), "x".repeat(FILE_NAME_BYTES_MAX)],
  ])("%j is %j", (text, path) => {
    expect(parseFilePath(text)).toEqual({ ok: true, path });
  });

  test.each([
    "",
    ".",
    "./",
    "/",
    "/etc/passwd",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "a/",
    "a//b",
    "//a",
    "a\0b",
    "a/\ud800",
    "x".repeat(FILE_NAME_BYTES_MAX + 1),
    "é".repeat(FILE_NAME_BYTES_MAX / 2 + 1),
    "a/".repeat(FILE_PATH_BYTES_MAX / 2) + "a",
  ])("%j is refused, with a reason", (text) => {
    expect(parseFilePath(text)).toMatchObject({ ok: false, reason: expect.stringMatching(/^(is|has|begins) /) });
    expect(isFilePath(text)).toBe(false);
  });

  test("any text is refused or leads nowhere but down", () => {
    const pieces = fc.constantFrom("..", ".", "/", "a", "\0", "é", "\\", "");
    fc.assert(
      fc.property(
        fc.array(pieces).map((each) => each.join("")),
        (text) => {
          const parsed = parseFilePath(text);
          if (!parsed.ok) return;
          expect(isFilePath(parsed.path)).toBe(true);
          expect(parsed.path.split("/").some((name) => ["", ".", ".."].includes(name))).toBe(false);
        },
      ),
    );
  });

  test("lies in its folders", () => {
    expect(foldersAbove("a/b/c")).toEqual(["a", "a/b"]);
    expect(foldersAbove("a")).toEqual([]);
  });
});
