/**
 * Builds the hostile components beside it from their text: `node test/worker/runner/guests/components.mjs`. What it
 * writes is committed, so that tests need not parse.
 */
import { writeFile } from "node:fs/promises";
import { parse } from "@bytecodealliance/jco";

/** A component whose `wasi:cli/run` is the function `run` of the core instance `$main`. */
const command = (parts) => `(component ${parts}
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))`;

const GROW = `(func $grow (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))))`;

/** Two memories, each in a module of its own, both grown as far as they go; then `end`. */
const twoMemories = (end) =>
  command(`
    (core module $Other (memory 1) ${GROW} (export "grow" (func $grow)))
    (core instance $other (instantiate $Other))
    (core module $Main (import "other" "grow" (func $other)) (memory 1) ${GROW}
      (func (export "run") (result i32) (call $grow) (call $other) ${end}))
    (core instance $main (instantiate $Main (with "other" (instance $other))))`);

/** Ends the string literal that it is pasted into, and calls out. */
const CODE = "x'+(()=>{throw new Error(`attacked`)})()+'";

const SOURCES = {
  "spinning-component": command(`
    (core module $Main (func (export "run") (result i32) (loop $again (br $again)) (unreachable)))
    (core instance $main (instantiate $Main))`),
  "starting-component": command(`
    (core module $Main (func $spin (loop $again (br $again))) (start $spin) (func (export "run") (result i32) (i32.const 0)))
    (core instance $main (instantiate $Main))`),
  "recursing-component": command(`
    (core module $Main (func $again (result i32) (i32.add (call $again) (i32.const 1))) (export "run" (func $again)))
    (core instance $main (instantiate $Main))`),
  "two-memories-component": command(`
    (core module $Other (memory 1) (func (export "size") (result i32) (memory.size)))
    (core instance $other (instantiate $Other))
    (core module $Main (import "other" "size" (func $size (result i32))) (memory 1)
      (func (export "run") (result i32) (drop (memory.grow (i32.const 700)))
        (i32.eqz (i32.and (i32.eq (memory.size) (i32.const 701)) (i32.eq (call $size) (i32.const 1))))))
    (core instance $main (instantiate $Main (with "other" (instance $other))))`),
  "hoarding-component": twoMemories("(i32.const 0)"),
  "hoarding-on-component": twoMemories("(loop $again (br $again)) (unreachable)"),
  "injecting-export-component": `(component
    (core module $Main (func (export "${CODE}") (result i32) (i32.const 0)))
    (core instance $main (instantiate $Main))
    (func $run (result (result)) (canon lift (core func $main "${CODE}")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))`,
  "injecting-import-component": command(`
    (core module $Other (func (export "${CODE}")))
    (core instance $other (instantiate $Other))
    (core module $Main (import "${CODE}" "${CODE}" (func)) (func (export "run") (result i32) (i32.const 0)))
    (core instance $main (instantiate $Main (with "${CODE}" (instance $other))))`),
};

for (const [name, source] of Object.entries(SOURCES)) {
  await writeFile(new URL(`${name}.wasm`, import.meta.url), await parse(source));
}
