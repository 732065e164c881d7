/**
 * Receives the form of a submission. The module's bytes go to the blob store as they come, held by nobody; text fields
 * and stdin are kept in memory, under limits, and within the memory that all forms share. Parts may come in any order.
 *
 * Whatever goes wrong (a limit, a form that cannot be read, a store that fails, a client that goes away), reading
 * stops, the module's writer is disposed, and nothing stays behind. The request itself is left as it is, so that it can
 * be answered.
 */
import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import type { FormTexts } from "../../api/form-fields.ts";
import type { FieldError } from "../../api/problem.ts";
import { unwantedFileMessage } from "../../api/submission.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import {
  FIELD_BYTES_MAX,
  FORM_BYTES_HELD_MAX,
  INPUT_FILES_BYTES_MAX,
  INPUT_FILES_MAX,
  SPEC_BYTES_MAX,
  STDIN_BYTES_MAX,
  UPLOAD_IDLE_MS_MAX,
} from "../../base/limits.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { BlobStore, BlobWriter } from "../../store/blobs.ts";
import { BodyPace } from "./body-pace.ts";
import type { BudgetShare, ByteBudget } from "./byte-budget.ts";
import { type FormParser, openFormParser } from "./form-parser.ts";
import {
  fieldTooLarge,
  filesTooLarge,
  formTooLarge,
  tooManyFields,
  tooManyFiles,
  unreadableForm,
} from "./form-refusals.ts";
import { ClientGone, Refusal } from "./problem.ts";

export interface FormUploadOptions {
  readonly blobs: BlobStore;
  readonly moduleBytesMax: number;
  readonly requestBytesMax: number;
  /** What all forms together may hold in memory. One that would pass it is refused, to be sent again. */
  readonly memory: ByteBudget;
  readonly clock: Clock;
  /** Told of the body's bytes as they come. Default: nobody counts them. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** An input file, under the name that it came with. */
export interface ReceivedFile extends FileContent {
  /** Finished, not committed; undefined: the blob store has it. */
  readonly writer?: BlobWriter | undefined;
}

/** A form as it came, unchecked. It owns the module's writer, and its share of the memory. */
export interface ReceivedForm extends AsyncDisposable {
  readonly texts: FormTexts;
  readonly stdinFile?: Uint8Array | undefined;
  /** All bytes are written; neither finished nor committed. */
  readonly module?: BlobWriter | undefined;
  /** Input files. */
  readonly files: readonly ReceivedFile[];
  /** Parts that are of the wrong kind or come twice. */
  readonly errors: readonly FieldError[];
}

/** Resolves when the whole form is there. Rejects with a Refusal, with ClientGone, or as the blob store does. */
export async function receiveForm(request: IncomingMessage, options: FormUploadOptions): Promise<ReceivedForm> {
  const upload = new FormUpload(request, options);
  try {
    await upload.receive();
  } catch (thrown) {
    await upload[Symbol.asyncDispose]();
    throw thrown;
  }
  return upload;
}

/** Text fields beyond what a task may have in args, env and stdin: names, descriptions, separators. */
const TEXT_BYTES_MAX = SPEC_BYTES_MAX + FIELD_BYTES_MAX;

class FormUpload implements ReceivedForm {
  readonly texts = new Map<string, string[]>();
  readonly errors: FieldError[] = [];
  stdinFile: Uint8Array | undefined;
  module: BlobWriter | undefined;
  readonly files: (ReceivedFile & { readonly writer: BlobWriter })[] = [];
  readonly #request: IncomingMessage;
  readonly #options: FormUploadOptions;
  readonly #form: FormParser;
  /** Every byte that was read and has not gone to the blob store. */
  readonly #share: BudgetShare;
  readonly #pace: BodyPace;
  readonly #received = Promise.withResolvers<void>();
  /** Files being read. None rejects: a failure ends the whole. */
  readonly #reading: Promise<void>[] = [];
  readonly #claimed = new Set<string>();
  /** Files whose readers wait for more. */
  readonly #awaited = new Set<Readable>();
  #isAllParsed = false;
  #hasFailed = false;
  #bytes = 0;
  #textBytes = 0;
  #fileBytes = 0;

  constructor(request: IncomingMessage, options: FormUploadOptions) {
    this.#request = request;
    this.#options = options;
    this.#form = openForm(request);
    this.#share = options.memory.openShare();
    this.#pace = new BodyPace(options.clock);
  }

  async receive(): Promise<void> {
    const request = this.#request;
    const onData = (chunk: Buffer): void => this.#take(chunk);
    const onEnd = (): void => this.#endForm();
    const onGone = (): void => {
      if (!request.complete) this.#fail(new ClientGone());
    };
    // What nobody sends for a while ends as if the client had gone, which frees its connection.
    const onIdle = (): void => void request.destroy();
    this.#listen();
    request.on("data", onData).on("end", onEnd).on("close", onGone).on("error", onGone);
    request.setTimeout(UPLOAD_IDLE_MS_MAX, onIdle);
    if (request.destroyed) onGone();
    try {
      await this.#received.promise;
    } finally {
      request.off("data", onData).off("end", onEnd).off("close", onGone);
      request.setTimeout(0);
      request.off("timeout", onIdle);
      request.pause();
      await Promise.all(this.#reading);
      // They became whole in any order; what is made of them is to be the same each time.
      this.files.sort((a, b) => (a.path < b.path ? -1 : 1));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { module } = this;
    this.module = undefined;
    this.#share[Symbol.dispose]();
    await module?.[Symbol.asyncDispose]();
    for (const { writer } of this.files.splice(0)) await writer[Symbol.asyncDispose]();
  }

  #listen(): void {
    this.#form
      .on("field", (name, value, { valueTruncated }) => this.#takeField(name, value, valueTruncated))
      .on("file", (name, stream, { filename }) => void this.#reading.push(this.#takeFile(name, stream, filename)))
      .on("partsLimit", () => this.#fail(tooManyFields()))
      .on("error", (error) => this.#fail(unreadableForm(error)))
      .on("finish", () => {
        void Promise.all(this.#reading).then(() => this.#received.resolve());
      });
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    this.#options.onBytes?.(chunk.length);
    if (this.#bytes > this.#options.requestBytesMax) {
      this.#fail(requestTooLarge(this.#options));
      return;
    }
    const tooSlow = this.#pace.refuse(chunk.length);
    if (tooSlow !== undefined) {
      this.#fail(tooSlow);
      return;
    }
    if (!this.#hold(chunk.length)) return;
    if (this.#parse(chunk)) return;
    this.#request.pause();
    this.#form.once("drain", () => {
      if (!this.#hasFailed) this.#request.resume();
    });
  }

  /** False: there is no memory for so many bytes, and the form has failed. */
  #hold(bytes: number): boolean {
    const isTooMuch = this.#share.bytes + bytes > FORM_BYTES_HELD_MAX;
    if (!isTooMuch && this.#share.take(bytes)) return true;
    this.#fail(isTooMuch ? formTooLarge() : tooManyUploads());
    return false;
  }

  /** False: no more is welcome now. The parser may throw where a part's head is strange enough. */
  #parse(chunk: Buffer): boolean {
    try {
      return this.#form.write(chunk);
    } catch (thrown) {
      this.#fail(unreadableForm(thrown));
      return false;
    }
  }

  #endForm(): void {
    // Nothing, but its callback comes when everything before it has been parsed.
    this.#form.write(Buffer.alloc(0), () => {
      this.#isAllParsed = true;
      this.#failOnOrphans();
    });
    this.#form.end();
  }

  /**
   * The parser may leave a file open for ever when a boundary stands where a part's head should end. Once all is parsed,
   * a file whose reader still waits has been left so: one that was ended wakes its reader within the turn.
   */
  #failOnOrphans(): void {
    if (!this.#isAllParsed) return;
    setImmediate(() =>
      setImmediate(() => {
        const isOrphan = (stream: Readable): boolean => stream.readableLength === 0 && !stream.readableEnded;
        if ([...this.#awaited].some(isOrphan)) this.#fail(unreadableForm("a part does not end"));
      }),
    );
  }

  async *#piecesOf(stream: Readable): AsyncGenerator<Uint8Array, void> {
    const pieces: AsyncIterator<Uint8Array, void> = stream[Symbol.asyncIterator]();
    try {
      for (;;) {
        this.#awaited.add(stream);
        this.#failOnOrphans();
        const next = await pieces.next();
        this.#awaited.delete(stream);
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      this.#awaited.delete(stream);
      stream.destroy();
    }
  }

  #takeField(name: string | undefined, value: string, isTruncated: boolean): void {
    if (name === undefined) {
      this.#fail(new Refusal("invalid-form", "A part of the form has no name: give each part one."));
      return;
    }
    const bytes = Buffer.byteLength(value);
    this.#textBytes += bytes;
    if (isTruncated || this.#textBytes > TEXT_BYTES_MAX) {
      this.#fail(fieldTooLarge(name.slice(0, 64), FIELD_BYTES_MAX));
      return;
    }
    // A text takes up to twice its bytes while it is text.
    if (!this.#hold(bytes)) return;
    const values = this.texts.get(name);
    if (values === undefined) this.texts.set(name, [value]);
    else values.push(value);
  }

  /** Never rejects. What is claimed is claimed at once: the next file may be announced before this one is read. */
  async #takeFile(name: string | undefined, stream: Readable, filename: string | undefined): Promise<void> {
    // Outlives the reading: a stream that is destroyed when nobody reads it must not end the process.
    stream.on("error", () => {});
    if (this.#hasFailed) {
      // The parser goes on to the end of the chunk that it failed in, and nobody would ever end this file.
      stream.destroy();
      return;
    }
    const isSecond = name !== undefined && this.#claimed.has(name);
    if (name !== undefined) this.#claimed.add(name);
    try {
      if (name === "wasm" && !isSecond) await this.#takeModule(stream);
      else if (name === "stdin" && !isSecond) await this.#takeStdin(stream);
      else if (name === "files" && filename !== undefined && filename !== "") await this.#takeInput(stream, filename);
      else {
        const field = (name ?? "").slice(0, 64);
        const isFile = name === "wasm" || name === "stdin";
        this.errors.push({ field, message: isFile ? "came twice: send one file" : unwantedFileMessage(field) });
        for await (const piece of this.#piecesOf(stream)) this.#share.giveBack(piece.length);
      }
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  async #takeModule(stream: Readable): Promise<void> {
    const writer = await this.#options.blobs.create();
    this.module = writer;
    let bytes = 0;
    for await (const piece of this.#piecesOf(stream)) {
      bytes += piece.length;
      if (bytes > this.#options.moduleBytesMax) throw tooLarge(this.#options);
      await writer.write(piece);
      this.#share.giveBack(piece.length);
    }
  }

  /** Its content goes to the blob store; what its name says is checked with the other fields. */
  async #takeInput(stream: Readable, filename: string): Promise<void> {
    if (this.files.length >= INPUT_FILES_MAX) throw tooManyFiles();
    const writer = await this.#options.blobs.create();
    try {
      for await (const piece of this.#piecesOf(stream)) {
        this.#fileBytes += piece.length;
        if (this.#fileBytes > INPUT_FILES_BYTES_MAX) throw filesTooLarge();
        await writer.write(piece);
        this.#share.giveBack(piece.length);
      }
      // One is open at a time, however many there are.
      const { digest, bytes } = await writer.finish();
      this.files.push({ path: givenName(filename), digest, bytes, writer });
    } catch (thrown) {
      await writer[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  async #takeStdin(stream: Readable): Promise<void> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of this.#piecesOf(stream)) {
      bytes += piece.length;
      if (bytes > STDIN_BYTES_MAX) throw fieldTooLarge("stdin", STDIN_BYTES_MAX);
      pieces.push(piece);
    }
    this.stdinFile = Buffer.concat(pieces);
  }

  #fail(thrown: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#request.pause();
    // Ends the file that is being read, and with it its reader.
    this.#form.destroy(thrown instanceof Error ? thrown : new Error(messageOf(thrown)));
    this.#received.reject(thrown);
  }
}

function openForm(request: IncomingMessage): FormParser {
  try {
    return openFormParser(request.headers);
  } catch {
    throw new Refusal(
      "invalid-form",
      "The Content-Type names no boundary: let the client set it, as curl -F and FormData do.",
    );
  }
}

/** As many forms are coming in as there is room for. */
export function tooManyUploads(): Refusal {
  return new Refusal("not-ready", "Too many submissions are coming in at once: send this again in a moment.", {
    headers: { "retry-after": "1" },
  });
}

/** For a module. */
export function tooLarge({ moduleBytesMax }: Pick<FormUploadOptions, "moduleBytesMax">): Refusal {
  const mib = moduleBytesMax / (1024 * 1024);
  const limit = mib >= 1 ? `${Number(mib.toFixed(1))} MiB` : `${moduleBytesMax} bytes`;
  const message = `is larger than ${limit}: make the module smaller (strip it, optimize for size)`;
  return new Refusal("too-large", `wasm ${message}`, { errors: [{ field: "wasm", message }] });
}

/**
 * The name as it was before the client wrote it into a header: browsers, curl and `fetch` encode these three characters and
 * no other (HTML Living Standard, multipart/form-data encoding algorithm), and all else, `%` included, stands for itself.
 */
function givenName(filename: string): string {
  return filename.replaceAll("%22", '"').replaceAll("%0A", "\n").replaceAll("%0D", "\r");
}

/** For a body that is longer than anything that may be in it. */
export function requestTooLarge({ requestBytesMax }: Pick<FormUploadOptions, "requestBytesMax">): Refusal {
  const mib = Number((requestBytesMax / (1024 * 1024)).toFixed(1));
  const message = `is larger than ${mib} MiB with all that is beside it: make the module or the files smaller`;
  return new Refusal("too-large", `wasm ${message}`, { errors: [{ field: "wasm", message }] });
}
