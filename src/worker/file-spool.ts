/**
 * The files to keep of one attempt, between its guest and its gateway: written to this worker's disk while they are
 * hashed, then handed over one by one, to whichever gateway is there.
 *
 *     collecting ──complete──▶ sending ──all kept──▶ done
 *         │                       └──the gateway refuses them──▶ refused
 *         └──drop──▶ done
 *
 * A file counts as handed over when the gateway says that it is durable. What is under way when the connection is lost
 * begins anew with the next one; files that the gateway has are not sent again. A spool whose outcome is kept over the end
 * of this process leaves its folder to the next one, which goes on with it.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { unlessAborted } from "../base/abort.ts";
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { type ClusterError, failed, messageOf, overloaded, toClusterError } from "../base/errors.ts";
import { parseDigest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX, FILE_WRITES_IN_FLIGHT, RESEND_FIRST_MS, RESEND_MAX_MS } from "../base/limits.ts";
import type { Random } from "../base/random.ts";
import type { FileContentClient } from "../caps/file-content.ts";
import type { OutputClient } from "../caps/output.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { FileContent } from "../model/task-file.ts";
import { type Files, systemFiles } from "./files.ts";

export interface FileSpoolInit {
  /** Of this spool alone. Made when needed, and removed in the end unless it is to be kept. */
  readonly folder: string;
  /** What an earlier process has left in the folder to be handed over. Default: nothing was, and files are to come. */
  readonly found?: readonly SpooledFile[] | undefined;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** Bytes were written, or, with a negative number, are gone from the disk. */
  readonly onBytes: (bytes: number) => void;
}

export interface SpooledFile extends FileContent {
  /** In the spool's folder. */
  readonly name: string;
}

/** One gateway's output, from attach to detach. */
interface Link {
  readonly output: OutputClient;
  /** Aborted when detached. */
  readonly ended: AbortController;
}

const DETACHED = overloaded("the output was detached");

/** Why files do not arrive: the gateway does not take them, or this machine could not read what it had written. */
export interface FileRefusal {
  readonly by: "gateway" | "worker";
  readonly reason: string;
}

/** How an attempt is to be told to have ended whose files arrive, or do not. Throws `overloaded`, code `handed-back`. */
export function withRefusal(end: AttemptEnd, refusal: FileRefusal | undefined): AttemptEnd {
  if (refusal === undefined) return end;
  if (refusal.by === "worker") throw handedBack(refusal.reason);
  return { ...end, outcome: { kind: "lost", reason: refusal.reason } };
}

/** An attempt that somebody else is to try again, through no fault of the run. */
export function handedBack(reason: string): ClusterError {
  return overloaded(reason, { code: "handed-back" });
}

/** A spooled file is not there any more as it was written. */
class Unreadable extends Error {
  constructor({ path }: SpooledFile, cause: unknown) {
    super(`its file ${path} cannot be read any more: ${messageOf(cause)}`, { cause });
  }
}

export class FileSpool implements AsyncDisposable {
  readonly #init: FileSpoolInit;
  readonly #files: Files;
  /** Those that the gateway does not have yet, in their order. */
  readonly #spooled: SpooledFile[] = [];
  #state: "collecting" | "sending" | "done" | "refused" | "disposed" = "collecting";
  #refusal: FileRefusal | undefined;
  #link: Link | undefined;
  #sender: Promise<void> = Promise.resolve();
  #changed = Promise.withResolvers<void>();
  #count = 0;
  #hasFolder = false;
  #bytesOnDisk = 0;

  constructor(init: FileSpoolInit) {
    this.#init = init;
    this.#files = init.files ?? systemFiles;
    if (init.found === undefined) return;
    // It may still be there though all files were handed over before.
    this.#hasFolder = true;
    this.#spooled.push(...init.found);
    this.#count = init.found.length;
    this.#onDisk(init.found.reduce((sum, { bytes }) => sum + bytes, 0));
    this.complete();
  }

  /** Files that are not handed over yet. */
  get left(): readonly SpooledFile[] {
    return [...this.#spooled];
  }

  /** Why the files do not arrive, once that is certain. */
  get refusal(): FileRefusal | undefined {
    return this.#refusal;
  }

  /** Takes a file to keep. Rejects when it cannot be written, or its content ends early. One call at a time. */
  async keep(path: string, bytes: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    if (!this.#hasFolder) await this.#files.mkdir(this.#init.folder, { recursive: true, mode: 0o700 });
    this.#hasFolder = true;
    const name = String(this.#count++);
    const hash = createHash("sha256");
    let written = 0;
    await using file = await this.#files.open(this.#pathOf(name), "wx", 0o600);
    for await (const piece of content) {
      hash.update(piece);
      this.#onDisk(piece.length);
      await file.appendFile(piece);
      written += piece.length;
    }
    const digest = parseDigest(hash.digest("hex"));
    if (written !== bytes || digest === undefined) throw failed(`${path} ended after ${written} of ${bytes} bytes`);
    this.#spooled.push({ path, digest, bytes, name });
  }

  /** All files are here: they may go. */
  complete(): void {
    if (this.#state !== "collecting") return;
    this.#state = this.#spooled.length === 0 ? "done" : "sending";
    this.#pump();
    this.#notify();
  }

  /** None of them is wanted: the guest has ended in another way. */
  drop(): void {
    if (this.#state !== "collecting") return;
    this.#state = "done";
    this.#spooled.length = 0;
    this.#notify();
  }

  /** Hands over to `output`, which becomes the spool's. */
  attach(output: OutputClient): void {
    this.detach();
    if (this.#state !== "collecting" && this.#state !== "sending") {
      output[Symbol.dispose]();
      return;
    }
    this.#link = { output, ended: new AbortController() };
    this.#pump();
  }

  /** The gateway is out of reach. */
  detach(): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#link = undefined;
    link.ended.abort(DETACHED);
    link.output[Symbol.dispose]();
  }

  /** Resolves when all files are handed over, or never will be; rejects when the signal is aborted. */
  async drained({ signal }: { signal: AbortSignal }): Promise<void> {
    while (this.#state === "collecting" || this.#state === "sending") {
      await unlessAborted(this.#changed.promise, signal);
    }
  }

  /** Resolves when what is left to hand over survives power loss, but for the folder's own name. */
  async sync(): Promise<void> {
    if (this.#count === 0) return;
    for (const name of [...this.#spooled.map((file) => this.#pathOf(file.name)), this.#init.folder]) {
      await using opened = await this.#files.open(name, "r");
      await opened.sync();
    }
  }

  /** Stops. With `isKept` the files stay for another process. Idempotent. */
  async close({ isKept }: { readonly isKept: boolean }): Promise<void> {
    if (this.#state === "disposed") return;
    this.#end("disposed");
    await this.#sender;
    if (this.#hasFolder && !isKept) await this.#files.rm(this.#init.folder, { force: true, recursive: true });
    this.#onDisk(-this.#bytesOnDisk);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ isKept: false });
  }

  /** Keeps one sender going while there is something to send and somebody to send it to. */
  #pump(): void {
    const link = this.#link;
    if (this.#state !== "sending" || link === undefined) return;
    // One that was attached before has been told to end, and does so soon.
    this.#sender = this.#sender.then(() => this.#send(link));
  }

  /** Never rejects. */
  async #send(link: Link): Promise<void> {
    const { signal } = link.ended;
    const backoff = new Backoff({ firstMs: RESEND_FIRST_MS, maxMs: RESEND_MAX_MS, random: this.#init.random });
    while (this.#state === "sending" && !signal.aborted) {
      const [file] = this.#spooled;
      if (file === undefined) {
        this.#end("done");
        return;
      }
      try {
        await this.#handOver(file, link.output, signal);
        this.#spooled.shift();
        backoff.reset();
      } catch (thrown) {
        if (signal.aborted) return;
        if (thrown instanceof Unreadable) {
          this.#refusal = { by: "worker", reason: thrown.message };
          this.#end("refused");
        } else await this.#onFailure(toClusterError(thrown), backoff, signal);
      }
    }
  }

  async #handOver(file: SpooledFile, output: OutputClient, signal: AbortSignal): Promise<void> {
    using content = await output.keep({ path: file.path, digest: file.digest, bytes: file.bytes }, { signal });
    if (content === undefined) return;
    await this.#writeTo(content, file, signal);
    await content.finish({ signal });
  }

  async #writeTo(content: FileContentClient, file: SpooledFile, signal: AbortSignal): Promise<void> {
    await using source = await this.#files.open(this.#pathOf(file.name), "r").catch((error: unknown) => {
      throw new Unreadable(file, error);
    });
    const writes: Promise<void>[] = [];
    for (let at = 0; at < file.bytes;) {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES_MAX, file.bytes - at));
      const { bytesRead } = await source.read(chunk, 0, chunk.length, at).catch((error: unknown) => {
        throw new Unreadable(file, error);
      });
      if (bytesRead === 0) throw new Unreadable(file, "it is shorter than what was written to it");
      const write = content.write(chunk.subarray(0, bytesRead), { signal });
      // Awaited in order below; one that fails out of order must not count as unhandled.
      write.catch(() => {});
      writes.push(write);
      at += bytesRead;
      if (writes.length >= FILE_WRITES_IN_FLIGHT) await writes.shift();
    }
    await Promise.all(writes);
  }

  async #onFailure(error: ClusterError, backoff: Backoff, signal: AbortSignal): Promise<void> {
    switch (error.type) {
      case "overloaded":
        await sleep(this.#init.clock, backoff.nextMs(), { signal }).catch(() => {});
        return;
      case "disconnected":
        this.detach();
        return;
      case "failed":
      case "unimplemented":
        this.#refusal = { by: "gateway", reason: `the gateway refused its files: ${error.message}` };
        this.#end("refused");
    }
  }

  #end(state: "done" | "refused" | "disposed"): void {
    this.#state = state;
    this.#spooled.length = 0;
    this.detach();
    this.#notify();
  }

  #pathOf(name: string): string {
    return join(this.#init.folder, name);
  }

  #onDisk(bytes: number): void {
    this.#bytesOnDisk += bytes;
    this.#init.onBytes(bytes);
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
