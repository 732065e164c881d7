/** How much memory another process has. Only Linux tells; elsewhere nothing is known, and nothing is limited by it. */
import { readFileSync } from "node:fs";

export interface MemoryUse {
  /** Writable memory of its own that it has asked for: of a guest's linear memory all, touched or not. */
  readonly dataBytes: number;
  /** What of all its memory lies in the machine's. */
  readonly residentBytes: number;
  /** What of that is its own: no code of files, which others may share. */
  readonly privateBytes: number;
}

const KIB = 1_024;

/** Without waiting, at the cost of some twenty microseconds; undefined when the process is gone or this is not Linux. */
export function readMemoryUse(pid: number): MemoryUse | undefined {
  try {
    return parseProcStatus(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return undefined;
  }
}

/** `/proc/<pid>/status`, by proc(5). A process that has ended and was not yet waited for has no sizes. */
export function parseProcStatus(text: string): MemoryUse | undefined {
  const data = /^VmData:\s*(\d+) kB$/m.exec(text)?.[1];
  const resident = /^VmRSS:\s*(\d+) kB$/m.exec(text)?.[1];
  const anonymous = /^RssAnon:\s*(\d+) kB$/m.exec(text)?.[1];
  if (data === undefined || resident === undefined || anonymous === undefined) return undefined;
  return {
    dataBytes: Number(data) * KIB,
    residentBytes: Number(resident) * KIB,
    privateBytes: Number(anonymous) * KIB,
  };
}
