import { expect, test } from "vitest";
import { cutToWidth, displayWidth, formatTable, printable } from "../../src/cli/table.ts";
import { fc } from "../support/properties.ts";

const COLUMNS = [
  { heading: "ID", value: (row: readonly string[]) => row[0] ?? "" },
  { heading: "TEXT", value: (row: readonly string[]) => row[1] ?? "", isFlexible: true },
];

test("aligns columns and leaves no space at line ends", () => {
  expect(
    formatTable(
      COLUMNS,
      [
        ["a", "x"],
        ["long", ""],
      ],
      undefined,
    ),
  ).toEqual(["ID    TEXT", "a     x", "long"]);
});

test("cuts only flexible columns, and leaves out those that would be too narrow to read", () => {
  const lines = formatTable(COLUMNS, [["a-rather-long-id", "words ".repeat(20)]], 40);
  expect(lines[1]).toMatch(/^a-rather-long-id {2}words .*…$/);
  expect(displayWidth(lines[1] ?? "")).toBe(40);
  expect(formatTable(COLUMNS, [["x".repeat(30), "y".repeat(90)]], 40)[1]).toBe(`${"x".repeat(30)}  yyyyyyy…`);
  expect(formatTable(COLUMNS, [["x".repeat(31), "y".repeat(90)]], 40)).toEqual(["ID", "x".repeat(31)]);
});

test("cuts the start where the end tells one from another, and keeps the width that was asked for", () => {
  const columns = [
    { heading: "PEER", value: (row: readonly string[]) => row[0] ?? "", isFlexible: true, keepsEnd: true, widthMin: 5 },
    { heading: "ID", value: (row: readonly string[]) => row[1] ?? "", isFlexible: true, widthMin: 12 },
  ];
  const rows = [["12D3KooWRmoYB2aA", "a-name-of-many-letters"]];
  expect(formatTable(columns, rows, 19)[1]).toBe("…B2aA  a-name-of-m…");
});

test("cuts nothing where no width is given", () => {
  expect(formatTable(COLUMNS, [["a", "y".repeat(500)]], undefined)[1]).toBe(`a   ${"y".repeat(500)}`);
});

test("shows control characters harmlessly", () => {
  expect(printable("a\u001b[31mb\nc\td\u009b")).toBe("a\ufffd[31mb c d\ufffd");
});

test("counts wide and combining characters as terminals do", () => {
  expect([displayWidth("日本"), displayWidth("e\u0301"), displayWidth("🎉")]).toEqual([4, 1, 2]);
});

test("what is cut fits exactly, whatever the text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 1, max: 40 }), (text, width) => {
      const cut = cutToWidth(text, width);
      if (displayWidth(text) <= width) expect(cut).toBe(text);
      else expect(displayWidth(cut)).toBe(width);
    }),
  );
});
