/** A gateway's side of an attempt, driven by hand: where its output goes, where its module comes from, what it is. */
import { createHash } from "node:crypto";
import { failed } from "../../src/base/errors.ts";
import { type Digest, parseDigest, parsePeerId, parseTaskId, type PeerId, type TaskId } from "../../src/base/ids.ts";
import { LEASE_MS } from "../../src/base/limits.ts";
import { serveFileContent } from "../../src/caps/file-content.ts";
import { FilesClient, type FilesTarget, serveFiles } from "../../src/caps/files.ts";
import { ModuleClient, type ModuleTarget, serveModule } from "../../src/caps/module.ts";
import { OutputClient, type OutputTarget, serveOutput } from "../../src/caps/output.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { RunSpec } from "../../src/model/run-spec.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { Capability } from "../../src/rpc/capability.ts";

/** What to do with one write: keep so many of its bytes (default all), after what was waited for, or throw. */
export type OnWrite = (offset: number, bytes: Uint8Array) => Promise<number | void> | number | void;

/** The durable log of one attempt, and the capabilities through which it is written. */
export class DurableLog {
  readonly pieces: { readonly stream: OutputStream; readonly bytes: Uint8Array }[] = [];
  length = 0;
  /** Calls that came in. */
  writes = 0;
  readonly files = new KeptFiles();

  /** Of both streams, in order. */
  text(): string {
    return Buffer.concat(this.pieces.map(({ bytes }) => bytes)).toString();
  }

  output(onWrite: OnWrite = () => {}): OutputClient {
    return new OutputClient(serveOutput(this.target(onWrite)));
  }

  target(onWrite: OnWrite = () => {}): OutputTarget {
    return {
      write: async (offset, stream, bytes) => {
        this.writes++;
        const kept = (await onWrite(offset, bytes)) ?? bytes.length;
        if (offset > this.length) throw failed("output before this is missing", { code: "output-gap" });
        const fresh = bytes.subarray(this.length - offset, kept);
        if (fresh.length > 0) this.pieces.push({ stream, bytes: fresh });
        this.length += fresh.length;
        return this.length;
      },
      keep: (file) => this.files.keep(file),
    };
  }
}

/** The files that an attempt has handed over. */
export class KeptFiles {
  readonly contents = new Map<string, Uint8Array>();
  /** Calls that came in: files announced, pieces of them, and ends. */
  readonly calls = { keep: 0, write: 0, finish: 0 };
  /** Before each call is carried out; may throw. */
  onCall: (call: "keep" | "write" | "finish") => Promise<void> | void = () => {};

  async keep({ path, digest, bytes }: FileContent): Promise<Capability | undefined> {
    await this.#count("keep");
    if (this.contents.has(path)) return undefined;
    const pieces: Uint8Array[] = [];
    return serveFileContent({
      write: async (piece) => {
        await this.#count("write");
        pieces.push(piece);
      },
      finish: async () => {
        await this.#count("finish");
        const content = Buffer.concat(pieces);
        if (digestOf(content) !== digest || content.length !== bytes) throw failed("other bytes than announced");
        this.contents.set(path, content);
      },
    });
  }

  async #count(call: "keep" | "write" | "finish"): Promise<void> {
    this.calls[call]++;
    await this.onCall(call);
  }
}

/** Input files by their content, and how often they were read. */
export class FileSource implements FilesTarget {
  readonly files: readonly FileContent[];
  readonly #contents = new Map<Digest, Uint8Array>();
  reads = 0;

  constructor(contents: Readonly<Record<string, Uint8Array>>) {
    this.files = Object.entries(contents).map(([path, bytes]) => {
      const digest = digestOf(bytes);
      this.#contents.set(digest, bytes);
      return { path, digest, bytes: bytes.length };
    });
  }

  async read(digest: Digest, offset: number, length: number): Promise<Uint8Array> {
    this.reads++;
    const content = this.#contents.get(digest);
    if (content === undefined) throw failed("no such file", { code: "no-such-file" });
    return content.subarray(offset, offset + length);
  }

  client(): FilesClient {
    return new FilesClient(serveFiles(this));
  }
}

/** A module's bytes, and how often they were read. */
export class ModuleSource implements ModuleTarget {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  reads = 0;
  releases = 0;
  readonly #onRead: (offset: number) => Promise<void> | void;

  constructor(bytes: Uint8Array, onRead: (offset: number) => Promise<void> | void = () => {}) {
    this.bytes = bytes;
    this.digest = digestOf(bytes);
    this.#onRead = onRead;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.reads++;
    await this.#onRead(offset);
    return this.bytes.subarray(offset, offset + length);
  }

  client(): ModuleClient {
    return new ModuleClient(serveModule(this));
  }

  /** Of those who could read it, one holds it no longer. */
  [Symbol.dispose](): void {
    this.releases++;
  }
}

export function digestOf(bytes: Uint8Array): Digest {
  const digest = parseDigest(createHash("sha256").update(bytes).digest("hex"));
  if (digest === undefined) throw new Error("a SHA-256 that is none");
  return digest;
}

/** Bytes that are the same each time, and others for each seed. */
export function bytesOf(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + seed * 17 + (index >> 8)) & 255);
}

export function taskId(text: string): TaskId {
  const id = parseTaskId(text);
  if (id === undefined) throw new Error(`${text} is no task id`);
  return id;
}

export function peerId(letter: string): PeerId {
  const id = parsePeerId(letter.repeat(52));
  if (id === undefined) throw new Error(`${letter} is no letter of a peer id`);
  return id;
}

export function attemptId(serial: number, attempt = 1): AttemptId {
  return { task: taskId(`task-${serial}`), serial, run: 1, attempt };
}

export function specOf(module: { digest: Digest; bytes: Uint8Array }, spec: Partial<RunSpec> = {}): RunSpec {
  return {
    id: attemptId(1),
    module: module.digest,
    moduleBytes: module.bytes.length,
    entry: { kind: "command" },
    args: [],
    env: {},
    stdin: new Uint8Array(0),
    timeoutMs: 300_000,
    cpuMs: 300_000,
    memoryBytes: 64 * 1024 * 1024,
    outputBytesMax: 1024 * 1024,
    outputLimit: "truncate",
    leaseMs: LEASE_MS,
    submitter: "local",
    files: [],
    outputs: [],
    ...spec,
  };
}
