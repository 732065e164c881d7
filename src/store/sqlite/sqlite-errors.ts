/** What SQLite throws, as the ClusterError that the store's contract names, with a sentence that says what to do. */
import { ClusterError, failed, messageOf, overloaded } from "../../base/errors.ts";

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html). */
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
  if (code === BUSY || code === LOCKED) {
    return overloaded(`another process keeps the database ${path} locked: stop it, or try again`, {
      code: "store-busy",
      cause: thrown,
    });
  }
  return failed(sentence(code, path, messageOf(thrown)), { code: "store-unavailable", cause: thrown });
}

function sentence(code: number | undefined, path: string, message: string): string {
  switch (code) {
    case FULL:
      return `the disk that holds the database ${path} is full: free some space; nothing that was accepted is lost`;
    case CORRUPT:
    case NOTADB:
      return `${path} is damaged or is not a database (${message}): restore it from a backup, or move it away to begin with an empty one`;
    case PERM:
    case READONLY:
    case CANTOPEN:
      return `the database ${path} cannot be opened for writing (${message}): its folder has to exist and to be writable for this user`;
    case IOERR:
      return `reading or writing the database ${path} failed (${message}): check the disk and the file system it is on`;
    default:
      return `the database ${path} failed: ${message}`;
  }
}

/** The primary result code of what `node:sqlite` threw; undefined if it is not SQLite's. */
function decodeResultCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !("errcode" in thrown) || typeof thrown.errcode !== "number") return undefined;
  return thrown.errcode & 0xff;
}
