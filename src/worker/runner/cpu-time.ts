/** How much CPU time another process has used. Linux tells at once; elsewhere `ps` is asked. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";

/** Linux counts in hundredths of a second for programs, on every architecture. */
const TICK_MS = 10;
/** Position of `utime` after the command's closing parenthesis, by proc(5); `stime` follows it. */
const UTIME = 11;

/** User and system time in milliseconds, without waiting; undefined when the process is gone or this is not Linux. */
export function readCpuMsNow(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[UTIME]) + Number(fields[UTIME + 1]);
    return Number.isFinite(ticks) ? ticks * TICK_MS : undefined;
  } catch {
    return undefined;
  }
}

/** The same on every Unix; undefined when the process is gone. */
export async function readCpuMs(pid: number): Promise<number | undefined> {
  return readCpuMsNow(pid) ?? (await readCpuMsOfPs(pid));
}

function readCpuMsOfPs(pid: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    execFile("/bin/ps", ["-o", "time=", "-p", String(pid)], (error, stdout) => {
      resolve(error === null ? parsePsTime(stdout.trim()) : undefined);
    });
  });
}

/** `[[dd-]hh:]mm:ss[.cc]` in milliseconds. */
export function parsePsTime(text: string): number | undefined {
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$/.exec(text);
  if (match === null) return undefined;
  const [, days, hours, minutes, seconds] = match;
  return (((Number(days ?? 0) * 24 + Number(hours ?? 0)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000;
}
