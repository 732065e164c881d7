/** Guests that several tests run, each in a few instructions. */
import {
  buildWasm,
  call,
  DROP,
  forever,
  I32,
  i32,
  i64,
  load32,
  local,
  SPIN,
  store32,
  store64,
} from "../../support/wasm-builder.ts";

export const FD_WRITE = { name: "fd_write", parameters: [I32, I32, I32, I32], results: [I32] };
export const PROC_EXIT = { name: "proc_exit", parameters: [I32] };

export const noop = buildWasm({ functions: [{ export: "_start", body: [] }] });

export const spinning = buildWasm({ functions: [{ export: "_start", body: [...SPIN] }] });

export const trapping = buildWasm({ functions: [{ export: "_start", name: "fall_over", body: [0x00] }] });

/** `_start` and so many others like it, none of which does anything; `seed`, below 64, makes it another module. */
export function manyFunctions(count: number, seed: number): Uint8Array {
  const body = [0x05, 0x00, 0x41, seed, 0x1a, 0x0b];
  const bodies = Buffer.alloc(count * body.length, Buffer.from(body));
  const start = [...Buffer.from("_start"), 0x00, 0x00];
  return Buffer.concat([
    Buffer.from([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]),
    wholeSection(1, Buffer.from([0x01, 0x60, 0x00, 0x00])),
    wholeSection(3, Buffer.concat([leb128(count), Buffer.alloc(count)])),
    wholeSection(7, Buffer.from([0x01, 0x06, ...start])),
    wholeSection(10, Buffer.concat([leb128(count), bodies])),
  ]);
}

function wholeSection(id: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([id]), leb128(content.length), content]);
}

function leb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

export function exiting(code: number): Uint8Array {
  return buildWasm({ imports: [PROC_EXIT], functions: [{ export: "_start", body: call(0, i32(code)) }] });
}

/** Writes `text` once and ends, or goes on with `then`. */
export function printing(text: string, then: readonly number[] = [], stream: 1 | 2 = 1): Uint8Array {
  return buildWasm({
    imports: [FD_WRITE],
    memory: { min: 1 },
    data: [{ at: 64, bytes: text }],
    functions: [
      {
        export: "_start",
        body: [
          ...store32(i32(0), i32(64)),
          ...store32(i32(4), i32(new TextEncoder().encode(text).length)),
          ...call(0, i32(stream), i32(0), i32(1), i32(8)),
          ...DROP,
          ...then,
        ],
      },
    ],
  });
}

/** Writes `chunkBytes` bytes at a time, for ever. */
export function flooding(chunkBytes: number): Uint8Array {
  return buildWasm({
    imports: [FD_WRITE],
    memory: { min: Math.ceil((chunkBytes + 64) / 65_536) },
    functions: [
      {
        export: "_start",
        body: [
          ...store32(i32(0), i32(64)),
          ...store32(i32(4), i32(chunkBytes)),
          ...forever(call(0, i32(1), i32(0), i32(1), i32(8)), DROP),
        ],
      },
    ],
  });
}

/**
 * Writes `chunks` times `chunkBytes` zero bytes and exits with the last call's errno. Local 0 counts down.
 */
export function writing(chunks: number, chunkBytes: number): Uint8Array {
  return buildWasm({
    imports: [FD_WRITE, PROC_EXIT],
    memory: { min: Math.ceil((chunkBytes + 64) / 65_536) },
    functions: [
      {
        export: "_start",
        locals: [I32],
        body: [
          ...store32(i32(0), i32(64)),
          ...store32(i32(4), i32(chunkBytes)),
          ...i32(chunks),
          0x21,
          0x00,
          // loop: write; local0 -= 1; br_if 0
          0x03,
          0x40,
          ...call(0, i32(1), i32(0), i32(1), i32(8)),
          ...DROP,
          ...local(0),
          ...i32(1),
          0x6b,
          0x22,
          0x00,
          0x0d,
          0x00,
          0x0b,
        ],
      },
    ],
  });
}

/** Calls one import with operands and exits with what it returns. */
export function returningErrno(
  wanted: { readonly name: string; readonly parameters: readonly number[]; readonly module?: string },
  operands: readonly (readonly number[])[],
  prepare: readonly number[] = [],
): Uint8Array {
  return buildWasm({
    imports: [
      { ...wanted, results: [I32] },
      { ...PROC_EXIT, ...(wanted.module !== undefined && { module: wanted.module }) },
    ],
    memory: { min: 1 },
    functions: [{ export: "_start", body: [...prepare, ...call(1, call(0, ...operands))] }],
  });
}

/** Grows its memory by a page until it is refused, then traps, or exits 0. */
export function growing(end: "trap" | "exit"): Uint8Array {
  return buildWasm({
    memory: { min: 1 },
    functions: [
      {
        export: "_start",
        body: [
          // loop: memory.grow 1; i32.const -1; i32.ne; br_if 0
          0x03,
          0x40,
          ...i32(1),
          0x40,
          0x00,
          ...i32(-1),
          0x47,
          0x0d,
          0x00,
          0x0b,
          ...(end === "trap" ? [0x00] : []),
        ],
      },
    ],
  });
}

/** A `run` that adds its arguments, behind a `_start` that exits with `startCode` where that is given. */
export function adding(startCode?: number): Uint8Array {
  const run = { export: "run", parameters: [I32, I32], results: [I32], body: [0x20, 0x00, 0x20, 0x01, 0x6a] };
  if (startCode === undefined) return buildWasm({ functions: [run] });
  return buildWasm({
    imports: [PROC_EXIT],
    functions: [run, { export: "_start", body: call(0, i32(startCode)) }],
  });
}

/** Sleeps by `poll_oneoff` on the monotonic clock, besides a second subscription that is due later. */
export function sleeping(durationNs: bigint): Uint8Array {
  const subscription = (at: number, dueNs: bigint): number[] => [
    ...store64(i32(at), i64(BigInt(at))),
    ...store32(i32(at + 16), i32(1)),
    ...store64(i32(at + 24), i64(dueNs)),
  ];
  return buildWasm({
    imports: [{ name: "poll_oneoff", parameters: [I32, I32, I32, I32], results: [I32] }, PROC_EXIT],
    memory: { min: 1 },
    functions: [
      {
        export: "_start",
        body: [
          ...subscription(64, durationNs * 1000n),
          ...subscription(112, durationNs),
          ...call(0, i32(64), i32(256), i32(2), i32(0)),
          ...DROP,
          // Exits with the number of events, which is 1 for the nearer clock.
          ...call(1, load32(i32(0))),
        ],
      },
    ],
  });
}

/** Calls an import with operands again and again until it answers other than 0, and exits with that; `prepare` runs before each. */
export function untilRefused(
  wanted: { readonly name: string; readonly parameters: readonly number[] },
  operands: readonly (readonly number[])[],
  { prepare = [], memoryPages = 1, data = [] }: UntilRefusedOptions = {},
): Uint8Array {
  return buildWasm({
    imports: [{ ...wanted, results: [I32] }, PROC_EXIT],
    memory: { min: memoryPages },
    data,
    functions: [
      {
        export: "_start",
        locals: [I32],
        body: [
          // loop: prepare; local0 = call; i32.eqz; br_if 0
          0x03,
          0x40,
          ...prepare,
          ...call(0, ...operands),
          0x22,
          0x00,
          0x45,
          0x0d,
          0x00,
          0x0b,
          ...call(1, local(0)),
        ],
      },
    ],
  });
}

export interface UntilRefusedOptions {
  readonly prepare?: readonly number[];
  readonly memoryPages?: number;
  readonly data?: readonly { readonly at: number; readonly bytes: Uint8Array | string }[];
}
