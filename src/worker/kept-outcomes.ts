/**
 * Outcomes that wait to be acknowledged, on the disk: a worker that is stopped, killed or loses power tells them when it is
 * back. One file each: what the outcome is, and the output that the gateway had not made durable when the file was written.
 *
 *     4 bytes: length of the header · header (JSON) · records of output, as in a spool file, to the end
 *
 * The files to keep of an attempt lie in a folder of its own beside it from the moment when they are written; they count
 * once its outcome is there, which names them.
 *
 * A file appears whole or not at all: it is written beside, synced, renamed, and then its folder is synced. What cannot be
 * read is removed, and said; so is what has waited for longer than KEPT_OUTCOME_MS_MAX.
 */
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { failed, messageOf } from "../base/errors.ts";
import { type PeerId, parseDigest, parseTaskId, parseWorkerId } from "../base/ids.ts";
import {
  HELD_ATTEMPTS_MAX,
  KEPT_HEADER_BYTES_MAX,
  KEPT_OUTCOME_MS_MAX,
  OUTCOMES_SAVED_AT_ONCE_MAX,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { isFilePath } from "../model/file-path.ts";
import { type AttemptEnd, OUTCOME_KINDS } from "../model/outcome.ts";
import type { AttemptId } from "../model/run.ts";
import type { FileSpool, SpooledFile } from "./file-spool.ts";
import { type Files, type OpenFile, systemFiles } from "./files.ts";
import type { OutputSpool } from "./output-spool.ts";
import { type KeptOutput, encodeRecord } from "./spool-file.ts";

export interface KeptOutcomesInit {
  /** Made if missing; belongs to this alone. */
  readonly folder: string;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is kept of an attempt, besides its output. */
export interface KeptOutcome {
  /** Which gateway it is for. */
  readonly gateway: PeerId;
  readonly id: AttemptId;
  readonly end: AttemptEnd;
}

export interface FoundOutcome extends KeptOutcome {
  readonly output: KeptOutput;
  /** What is left to hand over, and where it lies. */
  readonly spooled: readonly SpooledFile[];
  readonly filesFolder: string;
  /** Wall-clock time. */
  readonly keptAt: number;
  readonly file: KeptFile;
}

/** One outcome on the disk. */
export interface KeptFile {
  /** It is not wanted any more. Idempotent. Never rejects. */
  remove(): Promise<void>;
}

interface Header {
  readonly version: 1;
  readonly keptAt: number;
  readonly gateway: PeerId;
  readonly id: AttemptId;
  readonly end: AttemptEnd;
  readonly offset: number;
  readonly outputBytes: number;
  /** Absent: an earlier version wrote it, which kept no files. */
  readonly spooled?: readonly SpooledFile[] | undefined;
}

const LENGTH_BYTES = 4;
const SUFFIX = ".outcome";
const FILES_SUFFIX = ".files";

export class KeptOutcomes {
  readonly #init: KeptOutcomesInit;
  readonly #files: Files;
  /** Saves under way, and those that wait for one of them to be over. */
  #saving = 0;
  readonly #waiting: (() => void)[] = [];
  /** A sync of the folder that has not begun yet: whoever renames a file before it does may wait for it. */
  #nextSync: Promise<void> | undefined;
  #lastSync: Promise<void> = Promise.resolve();
  #found: readonly FoundOutcome[] = [];

  private constructor(init: KeptOutcomesInit) {
    this.#init = init;
    this.#files = init.files ?? systemFiles;
  }

  static async open(init: KeptOutcomesInit): Promise<KeptOutcomes> {
    const outcomes = new KeptOutcomes(init);
    await outcomes.#files.mkdir(init.folder, { recursive: true, mode: 0o700 });
    outcomes.#found = await outcomes.#load();
    return outcomes;
  }

  /** What an earlier process left. */
  get found(): readonly FoundOutcome[] {
    return this.#found;
  }

  /** Where the files to keep of an attempt are to lie. They are removed at the next start if its outcome is not kept. */
  filesFolder(attempt: Pick<KeptOutcome, "gateway" | "id">): string {
    return `${this.#pathOf(attempt)}${FILES_SUFFIX}`;
  }

  /** Resolves when the outcome, and what its spools hold, survive power loss. Rejects when they cannot be kept. */
  async save(outcome: KeptOutcome, spool: OutputSpool, files?: FileSpool): Promise<KeptFile> {
    while (this.#saving >= OUTCOMES_SAVED_AT_ONCE_MAX)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#saving++;
    try {
      return await this.#save(outcome, spool, files);
    } finally {
      this.#saving--;
      this.#waiting.shift()?.();
    }
  }

  async #save({ gateway, id, end }: KeptOutcome, spool: OutputSpool, files?: FileSpool): Promise<KeptFile> {
    const { clock } = this.#init;
    const path = `${this.#pathOf({ gateway, id })}${SUFFIX}`;
    const part = `${path}.part`;
    try {
      // Those that are handed over meanwhile are named once too often, which costs a question.
      const spooled = files?.left;
      await files?.sync();
      await using file = await this.#files.open(part, "w+", 0o600);
      let hasBegun = false;
      await spool.copy({
        begin: async (offset, outputBytes) => {
          hasBegun = true;
          const header: Header = { version: 1, keptAt: clock.now(), gateway, id, end, offset, outputBytes, spooled };
          const encoded = encodeHeader(header);
          if (encoded.length > KEPT_HEADER_BYTES_MAX) throw failed("its header is too long");
          await file.appendFile(encoded);
        },
        write: (record) => file.appendFile(encodeRecord(record)),
      });
      if (!hasBegun) throw failed("its output is gone already");
      await file.sync();
      await this.#files.rename(part, path);
      await this.#syncFolder();
    } catch (error) {
      await this.#files.rm(part, { force: true }).catch(() => {});
      throw error;
    }
    return this.#kept(path);
  }

  #pathOf({ gateway, id }: Pick<KeptOutcome, "gateway" | "id">): string {
    return join(this.#init.folder, `${id.serial}-${id.run}-${id.attempt}-${gateway}`);
  }

  #kept(path: string): KeptFile {
    const { log } = this.#init;
    return {
      remove: () =>
        this.#files.rm(path, { force: true }).catch((error: unknown) => {
          // It is told again after a restart, and refused.
          log.warn("an outcome that is no longer wanted could not be removed", { path, error });
        }),
    };
  }

  /** One for all who ask before it begins. */
  #syncFolder(): Promise<void> {
    this.#nextSync ??= this.#lastSync.then(async () => {
      this.#nextSync = undefined;
      const sync = this.#syncFolderNow();
      this.#lastSync = sync.catch(() => {});
      await sync;
    });
    return this.#nextSync;
  }

  async #syncFolderNow(): Promise<void> {
    await using folder = await this.#files.open(this.#init.folder, "r");
    await folder.sync();
  }

  async #load(): Promise<readonly FoundOutcome[]> {
    const { folder, clock, log } = this.#init;
    const found: FoundOutcome[] = [];
    const entries = await this.#files.readdir(folder);
    for (const { name } of entries) {
      const path = join(folder, name);
      if (name.endsWith(FILES_SUFFIX)) continue;
      try {
        if (!name.endsWith(SUFFIX)) throw failed("it was not written to its end");
        const outcome = await this.#read(path);
        if (clock.now() - outcome.keptAt > KEPT_OUTCOME_MS_MAX) throw failed("nobody has asked for it for too long");
        found.push(outcome);
      } catch (error) {
        log.warn("an outcome of an earlier time is given up", { path, reason: messageOf(error) });
        await this.#files.rm(path, { force: true, recursive: true });
      }
    }
    const kept = found.toSorted((a, b) => b.keptAt - a.keptAt).slice(0, HELD_ATTEMPTS_MAX);
    const wanted = new Set(kept.map((outcome) => this.filesFolder(outcome)));
    for (const { name } of entries) {
      const path = join(folder, name);
      if (name.endsWith(FILES_SUFFIX) && !wanted.has(path))
        await this.#files.rm(path, { force: true, recursive: true });
    }
    return kept;
  }

  async #read(path: string): Promise<FoundOutcome> {
    await using file = await this.#files.open(path, "r");
    const { size } = await file.stat();
    const length = (await readExactly(file, 0, LENGTH_BYTES)).readUInt32LE(0);
    if (length > KEPT_HEADER_BYTES_MAX) throw failed("its header is too long");
    const header = decodeHeader((await readExactly(file, LENGTH_BYTES, length)).toString("utf8"));
    const { gateway, id, end, keptAt, offset, outputBytes, spooled = [] } = header;
    const output = { path, readAt: LENGTH_BYTES + length, writeAt: size, offset, outputBytes };
    return {
      gateway,
      id,
      end,
      keptAt,
      output,
      spooled,
      filesFolder: this.filesFolder({ gateway, id }),
      file: this.#kept(path),
    };
  }
}

function encodeHeader(header: Header): Uint8Array {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text]);
}

/** It is our own, but may be of another version. */
function decodeHeader(text: string): Header {
  const header = JSON.parse(text) as Header;
  if (header.version !== 1) throw failed("another version of this program wrote it");
  const isWhole =
    parseWorkerId(header.gateway) !== undefined &&
    parseTaskId(header.id.task) !== undefined &&
    Number.isFinite(header.keptAt) &&
    [header.offset, header.outputBytes].every((offset) => Number.isSafeInteger(offset) && offset >= 0) &&
    [header.id.serial, header.id.run, header.id.attempt].every(Number.isSafeInteger) &&
    OUTCOME_KINDS.includes(header.end.outcome.kind) &&
    (header.spooled ?? []).every(isSpooledFile);
  if (!isWhole) throw failed("it does not say what it is an outcome of");
  return header;
}

/** Its name leads nowhere but into the attempt's own folder. */
function isSpooledFile({ path, digest, bytes, name }: SpooledFile): boolean {
  return isFilePath(path) && parseDigest(digest) !== undefined && Number.isSafeInteger(bytes) && /^\d+$/.test(name);
}

async function readExactly(file: OpenFile, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(buffer, at, length - at, position + at);
    if (bytesRead === 0) throw failed("it is cut short");
    at += bytesRead;
  }
  return buffer;
}
