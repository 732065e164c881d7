/** A module of the size of an interpreter, of which one run calls a tenth. For where there is no interpreter at hand. */
import { core, functionType, I32, list, name, section, u } from "../support/wasm-bytes.ts";

const FUNCTION_BYTES = 2_000;
/** One function in so many is called. */
const CALLED_OF = 10;
const CODE_SECTION = 10;

/** Its `_start` calls functions of straight code, one after the other. At least `bytes` bytes, nearly all of it code. */
export function largeModule(bytes: number): Uint8Array {
  const count = Math.ceil(bytes / FUNCTION_BYTES);
  const calls: number[] = [];
  for (let index = 1; index <= count; index += CALLED_OF) calls.push(0x41, 0x07, 0x10, ...u(index), 0x1a);
  const start = body(calls);
  const filling = body(straightCode());
  const code = [Uint8Array.from(u(count + 1)), start, ...Array.from({ length: count }, () => filling)];
  const length = code.reduce((sum, part) => sum + part.length, 0);
  const types = list([functionType([], []), functionType([I32], [I32])]);
  const head = core(
    section(1, types),
    section(3, list([u(0), ...Array.from({ length: count }, () => u(1))])),
    section(7, list([[...name("_start"), 0x00, ...u(0)]])),
  );
  return Buffer.concat([head, Uint8Array.from([CODE_SECTION, ...u(length)]), ...code]);
}

/** From its parameter a number, by a long way. */
function straightCode(): number[] {
  const code: number[] = [0x20, 0x00];
  // x = (x * 13 + parameter) ^ parameter, without an end: nothing of it can be folded.
  while (code.length < FUNCTION_BYTES) code.push(0x41, 0x0d, 0x6c, 0x20, 0x00, 0x6a, 0x20, 0x00, 0x73);
  return code;
}

function body(code: readonly number[]): Uint8Array {
  return Uint8Array.from([...u(code.length + 2), 0x00, ...code, 0x0b]);
}
