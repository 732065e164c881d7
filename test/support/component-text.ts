/** Components written as text, by the assembler that comes with the transpiler. */
import { parse } from "@bytecodealliance/jco";

/** The binary of a component's text. Rejects with what is wrong with it. */
export async function assemble(text: string): Promise<Uint8Array> {
  return new Uint8Array(await parse(text));
}

/** A component with `wasi:cli/run`, whose core module `main` exports `run` and what else `parts` say. */
export function command(parts = "", core = "(i32.const 0)"): string {
  return `(component
    (core module $Main (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
      (func (export "nothing"))
      (func (export "zero") (param i32) (result i32) (i32.const 0))
      (func (export "run") (result i32) ${core}))
    (core instance $main (instantiate $Main))
    (func $run (result (result)) (canon lift (core func $main "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli))
    ${parts})`;
}

/** A small component with functions of wide types, of which 64 KiB become 140 MiB of JavaScript. */
export function wideComponent(functions: number): Promise<Uint8Array> {
  const levels = Array.from({ length: 6 }, (_, i) => `(type $t${i + 1} (tuple $t${i} $t${i}))`);
  const lift = `(canon lift (core func $main "zero") (memory (core memory $main "memory")) (realloc (core func $main "realloc")))`;
  const wide = Array.from(
    { length: functions },
    (_, i) => `(func (export "f${i}") (param "a" $t6) (result (option $t0)) ${lift})`,
  );
  const types = `(type $t0 (tuple u8 string (list u32) (option string) u16)) ${levels.join(" ")}`;
  return assemble(command(`${types} ${wide.join(" ")}`));
}
