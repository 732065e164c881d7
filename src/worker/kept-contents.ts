/** Files that a function of the worker's own has asked to keep of its run, until the run has ended and they are handed over. */
import { open } from "node:fs/promises";
import { failed, messageOf } from "../base/errors.ts";
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX, OUTPUT_CHUNK_BYTES_MAX } from "../base/limits.ts";
import { parseFilePath } from "../model/file-path.ts";
import { matcherOf } from "../model/glob.ts";
import type { Outcome } from "../model/outcome.ts";
import type { GuestIo } from "./guest.ts";

type Content = Uint8Array | { readonly localPath: string };

export class KeptContents {
  readonly #isWanted: (path: string) => boolean;
  readonly #contents = new Map<string, Content>();
  #bytes = 0;
  #isTooMuch = false;
  #isClosed = false;

  /** `outputs`: the task's globs. */
  constructor(outputs: readonly string[]) {
    this.#isWanted = matcherOf(outputs);
  }

  /** False: the task does not want it. A path's last content counts. Throws `failed`: code `bad-path`, or `too-large`. */
  add(path: string, content: Content): boolean {
    if (this.#isClosed) throw failed("the run has ended: nothing more can be kept", { code: "run-ended" });
    const parsed = parseFilePath(path);
    if (!parsed.ok)
      throw failed(`the path ${JSON.stringify(path.slice(0, 200))} ${parsed.reason}`, { code: "bad-path" });
    if (!this.#isWanted(parsed.path)) return false;
    const own = content instanceof Uint8Array ? content.slice() : content;
    this.#bytes += sizeOf(own) - sizeOf(this.#contents.get(parsed.path));
    this.#contents.set(parsed.path, own);
    this.#isTooMuch ||= this.#contents.size > KEPT_FILES_MAX || this.#bytes > KEPT_FILES_BYTES_MAX;
    if (!this.#isTooMuch) return true;
    // The run cannot exit well any more: nothing of it is held in memory for that.
    this.#contents.clear();
    throw tooMuch();
  }

  close(): void {
    this.#isClosed = true;
  }

  /** The outcome that takes the place of the exit, if they cannot all be kept. Never rejects. */
  async handOver(io: GuestIo): Promise<Outcome | undefined> {
    if (this.#isTooMuch) return { kind: "output-exceeded", reason: messageOf(tooMuch()) };
    if (io.keep === undefined || this.#contents.size === 0) return undefined;
    let bytesLeft = KEPT_FILES_BYTES_MAX;
    for (const [path, content] of this.#contents) {
      try {
        if (content instanceof Uint8Array) {
          bytesLeft -= content.length;
          if (bytesLeft < 0) throw tooMuch();
          await io.keep({ path, bytes: content.length, content: piecesOf(content) });
          continue;
        }
        await using file = await open(content.localPath, "r");
        const { size } = await file.stat();
        bytesLeft -= size;
        if (bytesLeft < 0) throw tooMuch();
        await io.keep({ path, bytes: size, content: file.createReadStream({ start: 0, autoClose: false }) });
      } catch (thrown) {
        if (bytesLeft < 0) return { kind: "output-exceeded", reason: messageOf(thrown) };
        return { kind: "trapped", reason: `the file ${path} could not be kept: ${messageOf(thrown)}` };
      }
    }
    return undefined;
  }
}

function sizeOf(content: Content | undefined): number {
  return content instanceof Uint8Array ? content.length : 0;
}

function tooMuch(): Error {
  const mib = KEPT_FILES_BYTES_MAX / (1024 * 1024);
  return failed(`more files than are kept of a run: ${KEPT_FILES_MAX}, and ${mib} MiB together`, { code: "too-large" });
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += OUTPUT_CHUNK_BYTES_MAX) {
    yield await Promise.resolve(bytes.slice(at, at + OUTPUT_CHUNK_BYTES_MAX));
  }
}
