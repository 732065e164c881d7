/**
 * What a worker's own parts use of the file system: the module cache, spools, whatever else it keeps. Handed in, as time
 * and chance are, so that a simulation can own it, with what a crash does to files that were not synced. Calls do what
 * those of `node:fs/promises` with the same names do, and reject with the same errors.
 */
import { mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";

/** A file that is open; whoever opened it closes it. */
export interface OpenFile extends AsyncDisposable {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
  /** One write may take less than all. */
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>;
  /** Appends all of it. */
  appendFile(bytes: Uint8Array): Promise<void>;
  truncate(bytes: number): Promise<void>;
  /** Resolves when its content survives power loss. Its name does when its folder, opened too, is synced. */
  sync(): Promise<void>;
  stat(): Promise<{ readonly size: number }>;
  close(): Promise<void>;
}

export interface FolderEntry {
  readonly name: string;
  readonly isFile: boolean;
}

export interface Files {
  /** `r` reads what is there, `w+` begins anew, `wx` insists on being first, `a` appends. A folder is opened with `r`. */
  open(path: string, flags: "r" | "r+" | "w+" | "wx" | "a", mode?: number): Promise<OpenFile>;
  mkdir(path: string, options: { readonly recursive: boolean; readonly mode?: number }): Promise<unknown>;
  readdir(path: string): Promise<readonly FolderEntry[]>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options: { readonly force: boolean; readonly recursive?: boolean }): Promise<void>;
  stat(path: string): Promise<{ readonly size: number; readonly mtimeMs: number }>;
  /** Times are in seconds since the Unix epoch. */
  utimes(path: string, accessedAt: number, changedAt: number): Promise<void>;
}

/** One write may take less than all. */
export async function writeWhole(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** The machine's. */
export const systemFiles: Files = {
  open,
  mkdir,
  rename,
  rm,
  stat,
  utimes,
  readdir: async (path) => {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.map((entry) => ({ name: entry.name, isFile: entry.isFile() }));
  },
};
