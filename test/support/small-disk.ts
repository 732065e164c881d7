/**
 * A disk that is small, and there only for a test: memory mounted in a mount namespace of its own, kept by a process that
 * ends with the test. It needs no root, only a kernel that allows user namespaces.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class SmallDisk implements AsyncDisposable {
  /** As processes started `through` it see it. */
  readonly path: string;
  /** What is put before a command, so that it has the disk. */
  readonly through: readonly string[];
  readonly #holder: ChildProcess;
  readonly #pid: number;

  private constructor(path: string, holder: ChildProcess, pid: number) {
    this.path = path;
    this.#holder = holder;
    this.#pid = pid;
    this.through = ["nsenter", "-t", String(pid), "-U", "-m", "--preserve-credentials"];
  }

  static async mount(mebibytes: number): Promise<SmallDisk> {
    const path = await mkdtemp(join(tmpdir(), "capmesh-disk-"));
    const script = `mount -t tmpfs -o size=${mebibytes}m tmpfs ${path} && echo held && exec cat`;
    // The holder ends with its input, so that it cannot outlive the test.
    const holder = spawn("unshare", ["-rm", "sh", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    const exited = once(holder, "exit");
    const held = await Promise.race([once(holder.stdout, "data").then(() => true), exited.then(() => false)]);
    if (!held || holder.pid === undefined) throw new Error("the disk could not be mounted");
    return new SmallDisk(path, holder, holder.pid);
  }

  /** The same file, as this process sees it. */
  seen(name: string): string {
    return join(`/proc/${this.#pid}/root`, this.path, name);
  }

  /** Takes all the room there is. */
  fill(): void {
    const file = openSync(this.seen("filler"), "a");
    try {
      for (let bytes = 1024 * 1024; bytes >= 1; bytes /= 2) while (hasWritten(file, bytes));
    } finally {
      closeSync(file);
    }
  }

  /** Gives it back. */
  async free(): Promise<void> {
    await rm(this.seen("filler"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#holder, "exit");
    this.#holder.stdin?.end();
    await exited;
    await rm(this.path, { recursive: true });
  }
}

function hasWritten(file: number, bytes: number): boolean {
  try {
    return writeSync(file, new Uint8Array(bytes)) > 0;
  } catch {
    return false;
  }
}

/** Why there can be no such disk here; undefined if there can. */
export function noSmallDiskBecause(): string | undefined {
  const tried = spawnSync("unshare", ["-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], { encoding: "utf8" });
  if (tried.error !== undefined) return `unshare cannot be run: ${tried.error.message}`;
  return tried.status === 0 ? undefined : `nothing can be mounted: ${tried.stderr.trim()}`;
}
