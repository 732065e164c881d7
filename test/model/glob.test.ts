import { describe, expect, test } from "vitest";
import { OUTPUT_GLOB_LENGTH_MAX } from "../../src/base/limits.ts";
import { compileGlob, matcherOf } from "../../src/model/glob.ts";
import { fc } from "../support/properties.ts";

function matches(glob: string, path: string): boolean {
  const compiled = compileGlob(glob);
  if (!compiled.ok) throw new Error(`${glob} ${compiled.reason}`);
  return compiled.matches(path);
}

/** The obvious matcher, with all its backtracking: a part at a time, and within it a character at a time. */
function naive(glob: readonly string[], path: readonly string[]): boolean {
  const [part, ...others] = glob;
  if (part === undefined) return path.length === 0;
  if (part === "**") {
    if (others.length === 0) return path.length > 0;
    return path.some((_, skipped) => naive(others, path.slice(skipped)));
  }
  const [name, ...names] = path;
  return name !== undefined && naiveName(Array.from(part), Array.from(name)) && naive(others, names);
}

function naiveName(glob: readonly string[], name: readonly string[]): boolean {
  const [step, ...others] = glob;
  if (step === undefined) return name.length === 0;
  if (step === "*") return naiveName(others, name) || (name.length > 0 && naiveName(glob, name.slice(1)));
  return name.length > 0 && (step === "?" || step === name[0]) && naiveName(others, name.slice(1));
}

const names = fc.stringMatching(/^[ab.é]{1,5}$/).filter((name) => name !== "." && name !== "..");
const paths = fc.array(names, { minLength: 1, maxLength: 5 });
const globParts = fc.oneof(
  { weight: 1, arbitrary: fc.constant("**") },
  {
    weight: 3,
    arbitrary: fc.stringMatching(/^[ab.é*?]{1,6}$/).filter((part) => !/^\.{1,2}$/.test(part) && part !== "**"),
  },
);
const globs = fc.array(globParts, { minLength: 1, maxLength: 5 });

describe("a glob", () => {
  test.each([
    ["out.txt", "out.txt", true],
    ["out.txt", "a/out.txt", false],
    ["*.txt", "out.txt", true],
    ["*.txt", ".txt", true],
    ["*.txt", "a/out.txt", false],
    ["/*.txt", "out.txt", true],
    ["**", "a/b/c", true],
    ["**/*.txt", "out.txt", true],
    ["**/*.txt", "a/b/out.txt", true],
    ["out/**", "out/a/b", true],
    ["out/**", "out", false],
    ["out/**/end", "out/end", true],
    ["out/**/end", "out/a/b/end", true],
    ["out/**/end", "out/aend", false],
    ["a**b", "axxb", true],
    ["a**b", "a/b", false],
    ["a?c", "abc", true],
    ["a?c", "a/c", false],
    ["a?c", "a🙂c", true],
    ["[a-c]x", "bx", true],
    ["[a-c]x", "dx", false],
    ["[!a-c]x", "dx", true],
    ["[^a-c]x", "bx", false],
    ["a[!b]c", "a/c", false],
    ["[]a]", "]", true],
    ["[a-]", "-", true],
    ["[\\]]", "]", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["A", "a", false],
  ])("%s on %s: %s", (glob, path, expected) => {
    expect(matches(glob, path)).toBe(expected);
  });

  test.each([
    "",
    "/",
    "out/",
    "a//b",
    "../a",
    "a/./b",
    "[a",
    "a[b/c]",
    "a\\",
    "a\0",
    "x".repeat(OUTPUT_GLOB_LENGTH_MAX + 1),
  ])("%j is refused, with what to do", (glob) => {
    expect(compileGlob(glob)).toMatchObject({ ok: false, reason: expect.stringMatching(/^(is|has|ends) /) });
  });

  test("says what the obvious matcher says", () => {
    fc.assert(
      fc.property(globs, paths, (glob, path) => {
        expect(matches(glob.join("/"), path.join("/"))).toBe(naive(glob, path));
      }),
      { numRuns: 3_000 },
    );
  });

  test("matches exactly its own text when every character is escaped", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a*?[\]\\!-]{1,8}$/), fc.stringMatching(/^[a*?[\]\\!-]{1,8}$/), (text, other) => {
        const glob = Array.from(text)
          .map((char) => `\\${char}`)
          .join("");
        expect(matches(glob, text)).toBe(true);
        expect(matches(glob, other)).toBe(text === other);
      }),
    );
  });

  test("takes no longer however many ways there are to match", () => {
    const path = "a".repeat(1_000);
    const startedAt = performance.now();
    expect(matches(`${"*a".repeat(100)}b`, path)).toBe(false);
    expect(matches(`${"**/".repeat(50)}b`, "a/".repeat(500) + "a")).toBe(false);
    // Tried one after the other these ways would outlast the universe.
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  test("one of several is enough, and none match nothing", () => {
    expect(matcherOf(["a", "b/*"])("b/c")).toBe(true);
    expect(matcherOf(["a", "b/*"])("c")).toBe(false);
    expect(matcherOf([])("a")).toBe(false);
  });
});
