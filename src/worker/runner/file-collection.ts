/**
 * The files that a runner hands over after its guest has exited, as they come in frames: each is checked and passed on
 * while its bytes arrive. The runner is not trusted: what was not asked for, comes twice, or is more than may be kept is
 * nonsense, which ends it.
 */
import { failed } from "../../base/errors.ts";
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX, RUNNER_OUTPUT_QUEUE_BYTES_MAX } from "../../base/limits.ts";
import { isFilePath } from "../../model/file-path.ts";
import { type GlobMatcher, matcherOf } from "../../model/glob.ts";
import type { FileToKeep } from "../guest.ts";
import { parseCollectReport, parseFileHead, REPLY } from "./wire.ts";

export interface CollectRequest {
  /** Globs; none: nothing is wanted, and the runner lets go of what it has. */
  readonly outputs: readonly string[];
  readonly keep: (file: FileToKeep) => Promise<void>;
}

export type CollectVerdict =
  | { readonly kind: "collected"; readonly cpuMs: number }
  /** There are more than may be kept, and none was passed on. */
  | { readonly kind: "exceeded"; readonly reason: string; readonly cpuMs: number }
  | { readonly kind: "died"; readonly reason: string };

export class FileCollection {
  readonly #isWanted: GlobMatcher;
  readonly #keep: CollectRequest["keep"];
  /** Called when frames are welcome again. */
  readonly #onTaken: () => void;
  readonly #verdict = Promise.withResolvers<CollectVerdict>();
  readonly #paths = new Set<string>();
  #bytes = 0;
  #current: IncomingContent | undefined;
  /** Bytes of all files that have come and are not yet passed on. */
  #queuedBytes = 0;
  #hasEnded = false;
  /** Files being passed on, one after the other. */
  #keeping: Promise<void> = Promise.resolve();

  constructor({ outputs, keep }: CollectRequest, onTaken: () => void) {
    this.#isWanted = matcherOf(outputs);
    this.#keep = keep;
    this.#onTaken = onTaken;
    this.#verdict.promise.catch(() => {});
  }

  /** Resolves when all files have been passed on; rejects as `keep` does. */
  get verdict(): Promise<CollectVerdict> {
    return this.#verdict.promise;
  }

  /** More is held than should be: no more is to be read for now. */
  get isFull(): boolean {
    return this.#queuedBytes > RUNNER_OUTPUT_QUEUE_BYTES_MAX;
  }

  /** Takes a frame. Returns what is wrong with it, where something is. */
  take(kind: number, payload: Uint8Array): string | undefined {
    if (this.#hasEnded) return `a frame of kind ${kind} after the end of its files`;
    if (kind === REPLY.file) return this.#takeHead(payload);
    if (kind === REPLY.fileBytes) return this.#takeBytes(payload);
    if (kind === REPLY.filesEnd) return this.#takeEnd(payload);
    return `a frame of kind ${kind} among its files`;
  }

  /** The process has ended. */
  end(reason: string): void {
    this.#current?.fail(reason);
    this.#keeping.finally(() => this.#verdict.resolve({ kind: "died", reason })).catch(() => {});
  }

  #takeHead(payload: Uint8Array): string | undefined {
    const head = parseFileHead(payload);
    if (this.#current?.isWhole === false) return "a file before the end of another";
    if (head === undefined || !isFilePath(head.path)) return "a file without a proper path";
    if (!this.#isWanted(head.path)) return "a file that was not asked for";
    if (this.#paths.has(head.path)) return "a file twice";
    this.#paths.add(head.path);
    this.#bytes += head.bytes;
    if (this.#paths.size > KEPT_FILES_MAX || this.#bytes > KEPT_FILES_BYTES_MAX) return "more files than it may keep";
    const content = new IncomingContent(head.bytes, (bytes) => this.#handOn(bytes));
    this.#current = content;
    this.#keeping = this.#keeping.then(() => this.#keep({ path: head.path, bytes: head.bytes, content }));
    this.#keeping.catch((error: unknown) => this.#verdict.reject(error));
    return undefined;
  }

  #takeBytes(payload: Uint8Array): string | undefined {
    if (this.#current === undefined || payload.length > this.#current.bytesToCome) return "bytes of no file";
    // The frame is a view of what was read, which is soon written over.
    this.#queuedBytes += payload.length;
    this.#current.push(payload.slice());
    return undefined;
  }

  #handOn(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (!this.isFull) this.#onTaken();
  }

  #takeEnd(payload: Uint8Array): string | undefined {
    const report = parseCollectReport(payload);
    if (report === undefined || this.#current?.isWhole === false) return "an end of its files that is none";
    this.#hasEnded = true;
    const { cpuMs, exceeded } = report;
    const verdict: CollectVerdict =
      exceeded === undefined ? { kind: "collected", cpuMs } : { kind: "exceeded", reason: exceeded, cpuMs };
    this.#keeping.then(
      () => this.#verdict.resolve(verdict),
      () => {},
    );
    return undefined;
  }
}

/** One file's bytes as they arrive. */
class IncomingContent implements AsyncIterable<Uint8Array> {
  readonly #pieces: Uint8Array[] = [];
  readonly #onTaken: (bytes: number) => void;
  #bytesToCome: number;
  #failure: string | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(bytes: number, onTaken: (bytes: number) => void) {
    this.#bytesToCome = bytes;
    this.#onTaken = onTaken;
  }

  get bytesToCome(): number {
    return this.#bytesToCome;
  }

  get isWhole(): boolean {
    return this.#bytesToCome === 0;
  }

  push(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytesToCome -= piece.length;
    this.#notify();
  }

  fail(reason: string): void {
    this.#failure = reason;
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#onTaken(piece.length);
        yield piece;
      } else if (this.isWhole) return;
      else if (this.#failure !== undefined) throw failed(`the runner ended in the middle of a file: ${this.#failure}`);
      else await this.#changed.promise;
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
