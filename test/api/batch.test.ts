import { describe, expect, test } from "vitest";
import { type LineResult, batchLines, parseLine } from "../../src/api/batch.ts";
import { CronChecks } from "../../src/api/cron-checks.ts";
import { BATCH_BYTES_MAX, BATCH_LINES_MAX, BATCH_NESTING_MAX } from "../../src/base/limits.ts";
import { fc } from "../support/properties.ts";

const MODULE = "a".repeat(64);
const NOW = Date.UTC(2026, 10, 22, 10);

function parse(text: string): LineResult {
  return parseLine({ text }, { now: NOW, crons: new CronChecks(NOW) });
}

function fieldsRefused(text: string): readonly string[] {
  const result = parse(text);
  return result.ok ? [] : result.errors.map(({ field }) => field);
}

describe("a line of a batch", () => {
  test("is told by its field from one that nests more deeply than any field does", () => {
    const nested = (depth: number) => `{"module":"${MODULE}","args":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    expect(fieldsRefused(nested(1))).toEqual([]);
    expect(fieldsRefused(nested(BATCH_NESTING_MAX - 1))).toEqual(["args"]);
    expect(fieldsRefused(nested(BATCH_NESTING_MAX))).toEqual(["line"]);
    // Both would take the parser seconds, and end the writer of the second one's value.
    expect(fieldsRefused("[".repeat(4_000_000))).toEqual(["line"]);
    expect(fieldsRefused(nested(4_000_000))).toEqual(["line"]);
  });

  test("may have any text in it", () => {
    const text = fc
      .array(fc.constantFrom("[", "{", "]", "}", '"', "\\", "a"), { maxLength: 100 })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(text, (description) => {
        const result = parse(JSON.stringify({ module: MODULE, description, args: [description] }));
        expect(result).toMatchObject({ ok: true, submission: { description, args: [description] } });
      }),
    );
  });
});

describe("the lines of a batch", () => {
  test("are those that are not blank, with their numbers", () => {
    expect(batchLines("\n a \r\n\t\n\nb\n", { max: 9 })).toEqual([
      { line: 2, text: "a" },
      { line: 5, text: "b" },
    ]);
    expect(batchLines("a\nb", { max: 9 })).toEqual([
      { line: 1, text: "a" },
      { line: 2, text: "b" },
    ]);
    expect(batchLines("", { max: 9 })).toEqual([]);
  });

  test("are no more than were asked for, whatever comes behind them", () => {
    const lines = batchLines("x\n".repeat(BATCH_BYTES_MAX / 2), { max: BATCH_LINES_MAX });
    expect(lines).toHaveLength(BATCH_LINES_MAX);
    expect(lines.at(-1)?.line).toBe(BATCH_LINES_MAX);
  });

  test("cost no memory where they are blank", () => {
    const text = "\n".repeat(BATCH_BYTES_MAX);
    const before = process.memoryUsage().heapUsed;
    expect(batchLines(text, { max: BATCH_LINES_MAX })).toEqual([]);
    // An object for each of them would be a gigabyte.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(4 * BATCH_BYTES_MAX);
  });
});
