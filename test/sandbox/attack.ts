/**
 * JavaScript that has got out of everything Node holds, and now tries what the machine holds. It is run as the source of
 * a process of its own (`node --eval`), which is given what it is not to reach, in order: the pid of the process that
 * started it; that of another one of the same user; a port that somebody listens on, on loopback; a file that its owner
 * alone may read and write; a folder that anybody may write to. Each attempt answers what it achieved.
 */

/** What was achieved, by attempt. */
export interface AttackResult {
  readonly signalsOwner: boolean;
  readonly signalsNeighbour: boolean;
  /** Processes in reach of a signal, by trying ids up to 4096, those of its own threads left out, and those around its owner's. */
  readonly reachesProcesses: number;
  readonly readsSecret: boolean;
  readonly overwritesSecret: boolean;
  readonly seesFiles: boolean;
  readonly writesFile: boolean;
  readonly connects: boolean;
  readonly startsShell: boolean;
  /** Processes that it had running at once, of 40 that it tried to start. */
  readonly forks: number;
  readonly uid: number;
}

export const ATTACK = `
const fs = process.getBuiltinModule("fs");
const net = process.getBuiltinModule("net");
const { spawn, spawnSync } = process.getBuiltinModule("child_process");
const [, ownerPid, neighbourPid, port, secretPath, openFolder] = process.argv;
const succeeds = (attempt) => { try { return attempt() !== false; } catch { return false; } };
const signals = (pid) => succeeds(() => process.kill(Number(pid), 0));
const connects = () => new Promise((resolve) => {
  const socket = net.connect(Number(port), "127.0.0.1");
  socket.once("connect", () => { socket.destroy(); resolve(true); });
  socket.once("error", () => resolve(false));
});
const forks = async () => {
  const children = [];
  for (let index = 0; index < 40; index++) {
    try {
      const child = spawn("/bin/sleep", ["100"], { stdio: "ignore" });
      child.on("error", () => {});
      if (child.pid !== undefined) children.push(child);
    } catch {}
  }
  const ends = children.map((child) => new Promise((resolve) => child.once("close", resolve)));
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(ends);
  return children.length;
};
const pids = [...Array(4096).keys(), ...Array.from({ length: 200 }, (_, index) => Number(ownerPid) - 100 + index)];
process.stdout.write(JSON.stringify({
  signalsOwner: signals(ownerPid) || (process.ppid !== 0 && signals(process.ppid)),
  signalsNeighbour: signals(neighbourPid),
  reachesProcesses: pids.filter((pid) => pid > 64 && pid !== process.pid && signals(pid)).length,
  readsSecret: succeeds(() => fs.readFileSync(secretPath)),
  overwritesSecret: succeeds(() => fs.closeSync(fs.openSync(secretPath, "r+"))),
  seesFiles: fs.existsSync("/etc") || fs.existsSync("/proc/self"),
  writesFile: succeeds(() => fs.writeFileSync(openFolder + "/" + process.pid, "x")),
  connects: await connects(),
  startsShell: succeeds(() => spawnSync("/bin/sh", ["-c", "exit 7"]).status === 7),
  forks: await forks(),
  uid: process.getuid(),
}));
`;

export function parseAttackResult(text: string): AttackResult {
  return JSON.parse(text) as AttackResult;
}
