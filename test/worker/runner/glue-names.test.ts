import { runInThisContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { refuseGlueNames } from "../../../src/worker/runner/glue-names.ts";
import { fc } from "../../support/properties.ts";

const withExport = (name: string) => refuseGlueNames({ imports: [], exports: [{ name, kind: "function" }] });
const withImport = (module: string, name: string) =>
  refuseGlueNames({ imports: [{ module, name, kind: "function" }], exports: [] });

describe("a name of a component's core module", () => {
  test.each([
    "",
    "run",
    "_start",
    "__proto__",
    "cabi_realloc",
    "wasi:cli/run@0.2.0#run",
    "[export]wasi:io/streams@0.2.0",
    "[resource-drop]input-stream",
    "cabi_post_wasi:cli/run@0.2.0#run",
    "$root",
    "_ZN4core3fmt9Formatter12pad_integral17h1f$LT$T$GT$E",
    "operator new(unsigned long)",
  ])("may be %j", (name) => {
    expect(withExport(name)).toBeUndefined();
    expect(withImport(name, name)).toBeUndefined();
  });

  test.each(["a'b", 'a"b', "a`b", "a\\b", "a\nb", "a\rb", "a\u2028b", "a${b}", "a*/b", "ä", "a\0b"])(
    "may not be %j",
    (name) => {
      expect(withExport(name)).toContain("would be code");
      expect(withImport(name, "f")).toContain("would be code");
      expect(withImport("m", name)).toContain("would be code");
    },
  );

  test("that passes is the same in a literal of any kind, pasted as it is", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from("'\"`\\${}*/\n\u2028ab ")), maxLength: 4 }),
        (name) => {
          if (withExport(name) !== undefined) return;
          for (const quote of ["'", '"', "`"]) expect(runInThisContext(`${quote}${name}${quote}`)).toBe(name);
          expect(runInThisContext(`/* ${name} */ 1`)).toBe(1);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
