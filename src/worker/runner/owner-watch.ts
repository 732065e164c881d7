/**
 * Ends runners whose owner died without a word. A runner that waits sees its pipe close and ends by itself; one whose
 * guest spins does not look. So a shell of about a megabyte, in a session of its own, reads from a pipe which runners
 * there are, and kills those that are left when the pipe closes, which it does however its owner ends.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Log } from "../../base/log.ts";

const SCRIPT = `
trap '' INT TERM HUP
pids=' '
while read -r op pid; do
  case "$op$pids" in
    +*) pids="$pids$pid " ;;
    -*" $pid "*) pids="\${pids%% $pid *} \${pids#* $pid }" ;;
  esac
done
[ "$pids" = ' ' ] || kill -KILL $pids
`;

export class OwnerWatch {
  readonly #log: Log;
  readonly #pids = new Set<number>();
  #shell: ChildProcess | undefined;
  #isClosed = false;

  constructor(log: Log) {
    this.#log = log;
    this.#start();
  }

  get pid(): number | undefined {
    return this.#shell?.pid;
  }

  add(pid: number): void {
    this.#pids.add(pid);
    this.#tell(`+ ${pid}\n`);
  }

  /** Called as soon as a runner has ended: its pid may soon be somebody else's. */
  remove(pid: number): void {
    this.#pids.delete(pid);
    this.#tell(`- ${pid}\n`);
  }

  /** Called last, when all runners have ended. Resolves when the shell has. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const shell = this.#shell;
    if (shell === undefined || shell.exitCode !== null || shell.signalCode !== null) return;
    const ended = new Promise((resolve) => shell.once("close", resolve));
    shell.stdin?.end();
    await ended;
  }

  #start(): void {
    const shell = spawn("/bin/sh", ["-c", SCRIPT], {
      env: {},
      cwd: "/",
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#shell = shell;
    shell.on("error", (error) => this.#log.error("nobody watches over the runners", { error }));
    shell.stdin.on("error", () => {});
    shell.once("exit", () => {
      // Something killed it. Without it a runner could outlive us, so there is another at once.
      if (!this.#isClosed) this.#start();
    });
    for (const pid of this.#pids) this.#tell(`+ ${pid}\n`);
  }

  #tell(line: string): void {
    const stdin = this.#shell?.stdin;
    if (stdin?.writable === true) stdin.write(line);
  }
}
