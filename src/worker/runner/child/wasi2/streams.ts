/**
 * `wasi:io`: errors, pollables and streams. Reading and writing never wait here, since all a guest can read is there
 * from the start and its output goes to a pipe that blocks by itself; only clocks make it wait.
 */
import { WasiFailure } from "../files/errno.ts";
import { CallFailure, errorCodeOf } from "./failure.ts";
import { exposeResource, ResourceHold } from "./resource.ts";
import type { ResourceCount } from "./resource.ts";

/** Bytes handed over in one call, however many are asked for. */
const READ_BYTES_MAX = 1_048_576n;
const WRITE_BYTES_MAX = 1_048_576n;
const POLLABLES_MAX = 4_096;

/** `wasi:io/error`. */
export class IoError {
  readonly #code: string | undefined;

  constructor(code: string | undefined) {
    this.#code = code;
  }

  /** A file's error code, where it was one. */
  static codeOf(error: IoError): string | undefined {
    return error.#code;
  }

  toDebugString(): string {
    return this.#code ?? "i/o error";
  }
}

/** `wasi:io/poll`. Ready when the monotonic clock has reached `dueNs`; undefined: always, as streams are. */
export class Pollable {
  readonly #hold: ResourceHold;
  readonly #dueNs: bigint | undefined;

  constructor(count: ResourceCount, dueNs: bigint | undefined, of?: ResourceHold) {
    this.#hold = new ResourceHold(count, { of });
    this.#dueNs = dueNs;
  }

  /** Of several the one that is ready first. */
  static first(pollables: readonly Pollable[]): Pollable | undefined {
    let first: Pollable | undefined;
    for (const pollable of pollables) {
      if (first === undefined || (pollable.#dueNs ?? 0n) < (first.#dueNs ?? 0n)) first = pollable;
    }
    return first;
  }

  ready(): boolean {
    return this.#dueNs === undefined || this.#dueNs <= this.#hold.powers.monotonicNs();
  }

  block(): void {
    const { powers } = this.#hold;
    while (!this.ready()) powers.sleep(Number((this.#dueNs ?? 0n) - powers.monotonicNs()) / 1e6);
  }

  [Symbol.dispose](): void {
    this.#hold.drop();
  }
}

/** Waits until one is ready; answers the indexes of all that are. */
export function poll(pollables: readonly Pollable[]): Uint32Array {
  if (pollables.length > POLLABLES_MAX) throw new Error(`a poll of ${pollables.length} pollables at once`);
  const first = Pollable.first(pollables);
  if (first === undefined) throw new Error("a poll of no pollables");
  first.block();
  return Uint32Array.from(pollables.keys().filter((index) => pollables[index]?.ready() === true));
}

/** Where an input stream takes its bytes from: the next ones, at most `length`; empty at the end. */
export type Source = (length: number) => Uint8Array;
/** Where an output stream puts its bytes. */
export type Sink = (bytes: Uint8Array) => void;

const closed = { tag: "closed" };

export class InputStream {
  readonly #hold: ResourceHold;
  readonly #source: Source;

  constructor(count: ResourceCount, source: Source) {
    this.#hold = new ResourceHold(count);
    this.#source = source;
  }

  read(length: bigint): Uint8Array {
    if (length === 0n) return new Uint8Array(0);
    const wanted = Number(length < READ_BYTES_MAX ? length : READ_BYTES_MAX);
    const bytes = asStreamCall(() => this.#source(wanted));
    if (bytes.length === 0) throw new CallFailure(closed);
    return bytes;
  }

  blockingRead(length: bigint): Uint8Array {
    return this.read(length);
  }

  skip(length: bigint): bigint {
    return BigInt(this.read(length).length);
  }

  blockingSkip(length: bigint): bigint {
    return this.skip(length);
  }

  subscribe(): Pollable {
    return new Pollable(this.#hold.count, undefined, this.#hold);
  }

  [Symbol.dispose](): void {
    this.#hold.drop();
  }
}

export class OutputStream {
  readonly #hold: ResourceHold;
  readonly #sink: Sink;
  /** After a write that failed every other is answered `closed`. */
  #hasFailed = false;

  constructor(count: ResourceCount, sink: Sink) {
    this.#hold = new ResourceHold(count);
    this.#sink = sink;
  }

  checkWrite(): bigint {
    this.#checkOpen();
    return WRITE_BYTES_MAX;
  }

  write(bytes: Uint8Array): void {
    this.#checkOpen();
    try {
      asStreamCall(() => this.#sink(bytes));
    } catch (thrown) {
      this.#hasFailed = true;
      throw thrown;
    }
  }

  blockingWriteAndFlush(bytes: Uint8Array): void {
    this.write(bytes);
  }

  flush(): void {
    this.#checkOpen();
  }

  blockingFlush(): void {
    this.#checkOpen();
  }

  writeZeroes(length: bigint): void {
    if (length > WRITE_BYTES_MAX) throw new Error("more zeroes than check-write allowed");
    this.write(new Uint8Array(Number(length)));
  }

  blockingWriteZeroesAndFlush(length: bigint): void {
    this.writeZeroes(length);
  }

  splice(source: InputStream, length: bigint): bigint {
    this.#checkOpen();
    const bytes = source.read(length);
    this.write(bytes);
    return BigInt(bytes.length);
  }

  blockingSplice(source: InputStream, length: bigint): bigint {
    return this.splice(source, length);
  }

  subscribe(): Pollable {
    return new Pollable(this.#hold.count, undefined, this.#hold);
  }

  [Symbol.dispose](): void {
    this.#hold.drop();
  }

  #checkOpen(): void {
    if (this.#hasFailed) throw new CallFailure(closed);
  }
}

function asStreamCall<T>(operation: () => T): T {
  try {
    return operation();
  } catch (thrown) {
    if (!(thrown instanceof WasiFailure)) throw thrown;
    throw new CallFailure({ tag: "last-operation-failed", val: new IoError(errorCodeOf(thrown.errno)) });
  }
}

export const EXPOSED_IO_ERROR = exposeResource(IoError);
export const EXPOSED_POLLABLE = exposeResource(Pollable);
export const EXPOSED_INPUT_STREAM = exposeResource(InputStream);
export const EXPOSED_OUTPUT_STREAM = exposeResource(OutputStream);
