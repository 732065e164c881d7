/**
 * A simulated disk of one machine, and the files of it as a process sees them. What a killed process has written stays;
 * a power failure takes what was not synced, or not: files their content, folders their names, each by itself.
 */
import { basename, dirname } from "node:path";
import { type Random } from "../../src/base/random.ts";
import type { Files, FolderEntry, OpenFile } from "../../src/worker/files.ts";
import type { SimProcess } from "./sim-process.ts";

interface Inode {
  bytes: Uint8Array;
  syncedBytes: Uint8Array;
}

export class SimDisk {
  readonly #random: Random;
  readonly #folders = new Set<string>(["/"]);
  #names = new Map<string, Inode>();
  readonly #syncedNames = new Map<string, Inode>();
  /** No write succeeds. */
  isFull = false;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Paths of all files, in order. */
  files(): readonly string[] {
    return [...this.#names.keys()].toSorted();
  }

  /** As a guest reads it that was given the file. */
  contentOf(path: string): Uint8Array {
    return this.#inode(path).bytes;
  }

  failPower(): void {
    const lost = (): boolean => this.#random.next() < 0.5;
    const names = new Map(this.#names);
    for (const path of new Set([...this.#names.keys(), ...this.#syncedNames.keys()])) {
      const synced = this.#syncedNames.get(path);
      if (synced === this.#names.get(path) || !lost()) continue;
      if (synced === undefined) names.delete(path);
      else names.set(path, synced);
    }
    this.#names = names;
    for (const inode of names.values()) {
      if (inode.bytes !== inode.syncedBytes && lost()) inode.bytes = inode.syncedBytes;
    }
  }

  wipe(): void {
    this.#names.clear();
    this.#syncedNames.clear();
  }

  /** The files as this process sees them: each call takes its time, and none is answered once it is dead. */
  filesOf(process: SimProcess): Files {
    const call = <T>(act: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        process.clock.setTimer(0.05 + this.#random.next(), () => {
          try {
            resolve(act());
          } catch (thrown) {
            reject(thrown);
          }
        });
      });
    return {
      open: (path, flags) => call(() => this.#open(path, flags, call)),
      mkdir: (path) => call(() => void this.#folders.add(path)),
      readdir: (path) => call(() => this.#entries(path)),
      rename: (from, to) => call(() => this.#rename(from, to)),
      rm: (path, { force, recursive }) => call(() => this.#remove(path, force, recursive === true)),
      stat: (path) => call(() => ({ size: this.#inode(path).bytes.length, mtimeMs: 0 })),
      utimes: (path) => call(() => void this.#inode(path)),
    };
  }

  #open(path: string, flags: string, call: <T>(act: () => T) => Promise<T>): OpenFile {
    if (flags === "wx" && this.#names.has(path)) throw fileError("EEXIST", path);
    const isNew = !this.#names.has(path) && flags !== "r" && flags !== "r+";
    if (isNew) {
      if (this.isFull) throw fileError("ENOSPC", path);
      this.#names.set(path, { bytes: NOTHING, syncedBytes: NOTHING });
    }
    if (this.#folders.has(path)) return new SimFolder(() => this.#syncFolder(path), call);
    const inode = this.#inode(path);
    if (flags === "w+") inode.bytes = NOTHING;
    return new SimFile(inode, this, call);
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw fileError("ENOENT", path);
    return inode;
  }

  #entries(path: string): readonly FolderEntry[] {
    if (!this.#folders.has(path)) throw fileError("ENOENT", path);
    const files = this.files();
    // A power failure may bring back files of a folder that was removed, and the folder with them.
    const folders = [...this.#folders, ...files.map((file) => dirname(file))];
    const entries = [...files.map((name) => [name, true] as const), ...folders.map((name) => [name, false] as const)];
    const own = new Map(entries.filter(([name]) => name !== path && dirname(name) === path));
    return [...own].map(([name, isFile]) => ({ name: basename(name), isFile }));
  }

  #rename(from: string, to: string): void {
    const inode = this.#inode(from);
    this.#names.delete(from);
    this.#names.set(to, inode);
  }

  #remove(path: string, force: boolean, isRecursive: boolean): void {
    if (isRecursive) {
      for (const name of this.files()) if (name.startsWith(`${path}/`)) this.#names.delete(name);
      this.#folders.delete(path);
    }
    if (!this.#names.has(path) && !force) throw fileError("ENOENT", path);
    this.#names.delete(path);
  }

  #syncFolder(path: string): void {
    for (const name of this.#syncedNames.keys()) {
      if (dirname(name) === path && !this.#names.has(name)) this.#syncedNames.delete(name);
    }
    for (const [name, inode] of this.#names) if (dirname(name) === path) this.#syncedNames.set(name, inode);
  }
}

const NOTHING = new Uint8Array(0);

class SimFile implements OpenFile {
  readonly #inode: Inode;
  readonly #disk: SimDisk;
  readonly #call: <T>(act: () => T) => Promise<T>;

  constructor(inode: Inode, disk: SimDisk, call: <T>(act: () => T) => Promise<T>) {
    this.#inode = inode;
    this.#disk = disk;
    this.#call = call;
  }

  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }> {
    return this.#call(() => {
      const found = this.#inode.bytes.subarray(position, position + length);
      buffer.set(found, offset);
      return { bytesRead: found.length };
    });
  }

  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }> {
    return this.#call(() => {
      this.#write(buffer.subarray(offset, offset + length), position);
      return { bytesWritten: length };
    });
  }

  appendFile(bytes: Uint8Array): Promise<void> {
    return this.#call(() => this.#write(bytes, this.#inode.bytes.length));
  }

  truncate(bytes: number): Promise<void> {
    return this.#call(() => void (this.#inode.bytes = this.#inode.bytes.slice(0, bytes)));
  }

  sync(): Promise<void> {
    return this.#call(() => void (this.#inode.syncedBytes = this.#inode.bytes));
  }

  stat(): Promise<{ readonly size: number }> {
    return this.#call(() => ({ size: this.#inode.bytes.length }));
  }

  close(): Promise<void> {
    return this.#call(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #write(bytes: Uint8Array, position: number): void {
    if (this.#disk.isFull) throw fileError("ENOSPC", "a file");
    const { bytes: before } = this.#inode;
    const after = new Uint8Array(Math.max(before.length, position + bytes.length));
    after.set(before);
    after.set(bytes, position);
    this.#inode.bytes = after;
  }
}

/** A folder, opened to be synced. */
class SimFolder implements OpenFile {
  readonly #sync: () => void;
  readonly #call: <T>(act: () => T) => Promise<T>;

  constructor(sync: () => void, call: <T>(act: () => T) => Promise<T>) {
    this.#sync = sync;
    this.#call = call;
  }

  sync(): Promise<void> {
    return this.#call(this.#sync);
  }

  close(): Promise<void> {
    return this.#call(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  read(): Promise<never> {
    return this.#refuse();
  }

  write(): Promise<never> {
    return this.#refuse();
  }

  appendFile(): Promise<never> {
    return this.#refuse();
  }

  truncate(): Promise<never> {
    return this.#refuse();
  }

  stat(): Promise<{ readonly size: number }> {
    return this.#call(() => ({ size: 0 }));
  }

  #refuse(): Promise<never> {
    return Promise.reject(fileError("EISDIR", "a folder"));
  }
}

function fileError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
