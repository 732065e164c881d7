/** What is in the interfaces that a component imports and exports, and what of it is refused. */
import { describe, expect, test } from "vitest";
import type { ModuleInspection } from "../../src/model/module.ts";
import { checkImports } from "../../src/model/wasi-imports.ts";
import { checkEntry, inspectModule } from "../../src/model/wasm-inspect.ts";
import { assemble, command } from "../support/component-text.ts";
import { guestBytes } from "../support/guests.ts";

async function inspect(text: string): Promise<ModuleInspection> {
  const result = inspectModule(await assemble(text));
  if (!result.ok) throw new Error(result.reason);
  return result.inspection;
}

async function importing(text: string): Promise<string> {
  const result = checkImports(await inspect(`(component ${text})`));
  return result.ok ? "granted" : result.reason;
}

async function entering(text: string): Promise<string> {
  const result = checkEntry(await inspect(text), undefined, false);
  return result.ok ? "entered" : result.reason;
}

const environment = (items: string): string => `(import "wasi:cli/environment@0.2.0" (instance ${items}))`;

/** Streams as compilers import them, and what else is in them. */
const streams = (more: string): string => `
  (import "wasi:io/error@0.2.3" (instance $err (export "error" (type (sub resource)))))
  (alias export $err "error" (type $error))
  (import "wasi:io/streams@0.2.3" (instance $streams
    (alias outer 1 $error (type $e0))
    (export "error" (type $e (eq $e0)))
    (export "output-stream" (type $os (sub resource)))
    (type $se0 (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $se (eq $se0)))
    ${more}))`;

const written = (error: string): string =>
  `(export "[method]output-stream.write" (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result (error ${error})))))`;

/** A component with that instance as its `wasi:cli/run`. */
const exporting = (parts: string): string => `(component
  (core module $M (func (export "run") (result i32) (i32.const 0)) (func (export "param") (param i32) (result i32) (i32.const 0)))
  (core instance $m (instantiate $M))
  ${parts}
  (export "wasi:cli/run@0.2.1" (instance $c)))`;

describe("the imports of a component", () => {
  test("are granted as compilers write them", async () => {
    const result = inspectModule(guestBytes("component"));
    expect(result.ok && checkImports(result.inspection)).toEqual({ ok: true });
    expect(await importing(streams(written("$se")))).toBe("granted");
  });

  test.each([
    [
      "a function that the interface has not",
      environment(`(export "bogus" (func))`),
      "wasi:cli/environment@0.2.0#bogus",
    ],
    ["what every object has", environment(`(export "constructor" (func (result u32)))`), "#constructor"],
    [
      "a static function of a resource",
      streams(`(export "[static]output-stream.to-string" (func (result string)))`),
      "#[static]output-stream.to-string",
    ],
    [
      "a resource's making",
      streams(`(export "[constructor]output-stream" (func (result (own $os))))`),
      "#[constructor]output-stream",
    ],
    [
      "a method of the host's own",
      streams(`(export "[method]output-stream.release" (func (param "self" (borrow $os))))`),
      "#[method]output-stream.release",
    ],
    ["a type that the interface has not", environment(`(export "env" (type (sub resource)))`), "#env"],
    ["an instance within the interface", environment(`(export "inner" (instance))`), "#inner"],
  ])("are refused by name: %s", async (_, text, named) => {
    const reason = await importing(text);
    expect(reason).toContain("which nothing here provides");
    expect(reason).toContain(named);
  });

  test.each([
    [
      "another result",
      environment(`(export "get-arguments" (func (result u32)))`),
      "`()->u32`, and `()->list<string>`",
    ],
    [
      "more parameters",
      environment(`(export "initial-cwd" (func (param "a" u8) (result (option string))))`),
      "`(u8)->option<string>`",
    ],
    ["an error that is not the interface's", streams(written("$e")), "#[method]output-stream.write"],
    [
      "a type that is something else",
      `(import "wasi:clocks/wall-clock@0.2.0" (instance (type $d (record (field "seconds" u64))) (export "datetime" (type (eq $d)))))`,
      "`record{seconds:u64}`",
    ],
    [
      "a resource of another interface",
      `(import "wasi:cli/stdout@0.2.0" (instance (export "output-stream" (type $o (sub resource))) (export "get-stdout" (func (result (own $o))))))`,
      "`resource`, and `wasi:io/streams.output-stream`",
    ],
  ])("are refused under another type: %s", async (_, text, named) => {
    expect(await importing(text)).toContain(named);
  });

  test("are followed to where their types come from, through names and aliases", async () => {
    const { imports } = await inspect(`(component ${streams(written("$se"))}
      (alias export $streams "output-stream" (type $os))
      (import "wasi:cli/stdout@0.2.3" (instance (alias outer 1 $os (type $o0)) (export "output-stream" (type $o (eq $o0)))
        (export "get-stdout" (func (result (own $o)))))))`);
    expect(imports.at(-1)?.items).toEqual([
      { name: "output-stream", kind: "type", signature: "wasi:io/streams.output-stream" },
      { name: "get-stdout", kind: "function", signature: "()->own<wasi:io/streams.output-stream>" },
    ]);
  });

  test("that cannot be followed are refused", () => {
    const imported = { module: "", name: "wasi:io/poll@0.2.0", kind: "instance", items: null } as const;
    const inspection = { kind: "component", imports: [imported] } as unknown as ModuleInspection;
    expect(checkImports(inspection)).toMatchObject({
      ok: false,
      reason: expect.stringContaining("cannot be followed"),
    });
  });
});

describe("the `run` of a component", () => {
  const lifted = (type: string, core = "run"): string =>
    `(func $run ${type} (canon lift (core func $m "${core}"))) (instance $c (export "run" (func $run)))`;

  test("is found in an instance of its own, and through a component inside", async () => {
    expect(await entering(exporting(lifted("(result (result))")))).toBe("entered");
    const shim = `(func $f (result (result)) (canon lift (core func $m "run")))
      (component $shim (import "import-func-run" (func $g (result (result)))) (export "run" (func $g)))
      (instance $c (instantiate $shim (with "import-func-run" (func $f))))`;
    expect(await entering(exporting(shim))).toBe("entered");
  });

  test.each([
    ["with parameters", lifted(`(param "a" u32) (result (result))`, "param"), "`(u32)->result`, and `()->result`"],
    ["with another result", lifted("(result u32)"), "`()->u32`"],
    [
      "under another name",
      `(func $f (result (result)) (canon lift (core func $m "run"))) (instance $c (export "walk" (func $f)))`,
      "without a function `run`",
    ],
  ])("is refused %s", async (_, parts, named) => {
    expect(await entering(exporting(parts))).toContain(named);
  });

  test("is refused without a result", async () => {
    const text = `(component (core module $M (func (export "run"))) (core instance $m (instantiate $M)) ${lifted("")} (export "wasi:cli/run@0.2.1" (instance $c)))`;
    expect(await entering(text)).toContain("`()`, and `()->result`");
  });
});

describe("other exports of a component", () => {
  const nothing = `(canon lift (core func $main "nothing"))`;

  test.each(["class", "await", "eval", "default", "exports"])("may be called %s", async (name) => {
    expect(await entering(command(`(func (export "${name}") ${nothing})`))).toBe("entered");
  });

  test.each([
    ["a function", `(func (export "arguments") ${nothing})`],
    [
      "a function of an interface",
      `(func $f ${nothing}) (instance $i (export "arguments" (func $f))) (export "a:b/c" (instance $i))`,
    ],
    [
      "an interface",
      `(func $f ${nothing}) (instance $i (export "f" (func $f))) (export "a:b/arguments" (instance $i))`,
    ],
  ])("may not have a name that JavaScript keeps: %s", async (_, parts) => {
    expect(await entering(command(parts))).toContain("`arguments`, a name that is taken");
  });
});
