/** What SQLite throws, as the ClusterError that the store's contract names, with a sentence that says what to do. */
import { ClusterError, failed, messageOf } from "../../base/errors.ts";
import { DamagedRow } from "./damaged-row.ts";
import { StoreFailure, type StoreTrouble, type TroubleKind, notWritableText } from "../trouble.ts";

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html). */
const ERROR = 1;
const PERM = 3;
const BUSY = 5;
const LOCKED = 6;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;

export function toStoreError(thrown: unknown, path: string): ClusterError {
  if (thrown instanceof ClusterError) return thrown;
  const code = decodeResultCode(thrown);
  const message = sentence(code, path, messageOf(thrown));
  const kind = kindOf(code);
  return kind === undefined
    ? failed(message, { code: "store-unavailable", cause: thrown })
    : new StoreFailure(kind, message, thrown);
}

/** The file is not what it was written as. */
export function damaged(path: string, message: string): ClusterError {
  return new StoreFailure("damaged", sentence(CORRUPT, path, message));
}

/** The file, or its log, is not under its name any more. */
export function moved(path: string): StoreTrouble {
  return {
    kind: "moved",
    message:
      `the database ${path}, or its log ${path}-wal, was moved, replaced or deleted while it is in use: put both back where ` +
      "they were, or start the gateway again to go on with what is there now; nothing is written meanwhile",
  };
}

/** What this says about the file; undefined if it says nothing, as when one statement is at fault. */
export function toTrouble(thrown: unknown, path: string): StoreTrouble | undefined {
  if (thrown instanceof DamagedRow) return { kind: "damaged", message: sentence(CORRUPT, path, thrown.what) };
  const code = decodeResultCode(thrown);
  const kind = kindOf(code);
  return kind === undefined ? undefined : { kind, message: sentence(code, path, messageOf(thrown)) };
}

function kindOf(code: number | undefined): TroubleKind | undefined {
  return code === undefined ? undefined : KINDS.get(code);
}

const KINDS: ReadonlyMap<number, TroubleKind> = new Map([
  [BUSY, "busy"],
  [LOCKED, "busy"],
  [FULL, "disk-full"],
  [CORRUPT, "damaged"],
  [NOTADB, "damaged"],
  [PERM, "not-writable"],
  [READONLY, "not-writable"],
  [CANTOPEN, "not-writable"],
  [IOERR, "io-error"],
]);

function sentence(code: number | undefined, path: string, message: string): string {
  switch (code) {
    case BUSY:
    case LOCKED:
      return `another process keeps the database ${path} locked: stop it, or try again`;
    case FULL:
      return `the disk that holds the database ${path} is full: free some space; nothing that was accepted is lost`;
    case CORRUPT:
    case NOTADB:
      return `${path} is damaged or is not a database (${message}): restore it from a backup, or move it and the folder blobs away to begin anew`;
    case PERM:
    case READONLY:
    case CANTOPEN:
      return notWritableText(path, message);
    case IOERR:
      return `reading or writing the database ${path} failed (${message}): check the disk and the file system it is on`;
    default:
      return `the database ${path} failed: ${message}`;
  }
}

/** The primary result code of what `node:sqlite` threw; undefined if it is not SQLite's. */
function decodeResultCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error)) return undefined;
  // A number that nobody here has written: no column holds one that large.
  if ("code" in thrown && thrown.code === "ERR_OUT_OF_RANGE") return CORRUPT;
  if (!("errcode" in thrown) || typeof thrown.errcode !== "number") return undefined;
  const code = thrown.errcode & 0xff;
  return code === ERROR && NOT_AS_WRITTEN.test(thrown.message) ? CORRUPT : code;
}

/** All statements are our own: one that fails so has met tables, or JSON in them, that are not what was written. */
const NOT_AS_WRITTEN = /^(no such (table|column|index)|malformed JSON)/;
