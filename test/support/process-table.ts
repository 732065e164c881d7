/** The processes of this machine as Linux shows them, for tests that nothing is left behind. */
import { readFileSync, readdirSync } from "node:fs";

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
}

function readProcesses(): readonly ProcessEntry[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        // The program's name stands in parentheses and may hold anything.
        const [state = "", parent = ""] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return [{ pid: Number(name), parent: Number(parent), state }];
      } catch {
        return [];
      }
    });
}

/** Every process below this one now. */
export function descendants(pid: number): readonly number[] {
  const processes = readProcesses();
  const below = (parent: number): readonly number[] =>
    processes.filter((entry) => entry.parent === parent).flatMap((entry) => [entry.pid, ...below(entry.pid)]);
  return below(pid);
}

/** Whether it runs; a process that has ended and was not asked for its exit code yet does not. */
export function isAlive(pid: number): boolean {
  return readProcesses().some((entry) => entry.pid === pid && entry.state !== "Z");
}
