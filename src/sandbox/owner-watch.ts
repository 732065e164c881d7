/**
 * Ends runners whose owner died without a word. A runner that waits sees its pipe close and ends by itself; one whose
 * guest spins does not look. So a shell of about a megabyte, in a session of its own, reads from a pipe which runners
 * there are, and kills those that are left when the pipe closes, which it does however its owner ends.
 *
 * A shell that ends before its owner, or does not start, is replaced after a wait that doubles from one to the next:
 * where nothing can be started, trying without end would only make that worse.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Clock } from "../base/clock.ts";
import { OWNER_WATCH_RESTART_FIRST_MS, OWNER_WATCH_RESTART_MAX_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";

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

export interface OwnerWatchInit {
  readonly clock: Clock;
  readonly log: Log;
  /** The program that reads the script; default `/bin/sh`. */
  readonly shell?: string | undefined;
}

export class OwnerWatch {
  readonly #init: OwnerWatchInit;
  readonly #pids = new Set<number>();
  /** The one that runs. */
  #shell: ChildProcess | undefined;
  #restart: Disposable | undefined;
  #restartMs = OWNER_WATCH_RESTART_FIRST_MS;
  #isClosed = false;

  constructor(init: OwnerWatchInit) {
    this.#init = init;
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
    this.#restart?.[Symbol.dispose]();
    const shell = this.#shell;
    if (shell === undefined) return;
    const ended = new Promise((resolve) => shell.once("close", resolve).once("error", resolve));
    shell.stdin?.end();
    await ended;
  }

  #start(): void {
    const { clock, log, shell: program = "/bin/sh" } = this.#init;
    const startedMs = clock.monotonicMs();
    let shell: ChildProcess;
    try {
      shell = spawn(program, ["-c", SCRIPT], {
        env: {},
        cwd: "/",
        detached: true,
        stdio: ["pipe", "ignore", "ignore"],
      });
    } catch (error) {
      log.error("nobody watches over the runners", { error });
      this.#restartLater(startedMs);
      return;
    }
    this.#shell = shell;
    shell.once("error", (error) => {
      log.error("nobody watches over the runners", { error });
      this.#restartLater(startedMs);
    });
    // Where no pipe can be made there is none, and the error that follows tells why.
    shell.stdin?.on("error", () => {});
    shell.once("exit", () => this.#restartLater(startedMs));
    for (const pid of this.#pids) this.#tell(`+ ${pid}\n`);
  }

  /** Something ended it, or kept it from starting. Without it a runner could outlive us, so there is to be another. */
  #restartLater(startedMs: number): void {
    this.#shell = undefined;
    if (this.#isClosed) return;
    const { clock } = this.#init;
    if (clock.monotonicMs() - startedMs >= OWNER_WATCH_RESTART_MAX_MS) this.#restartMs = OWNER_WATCH_RESTART_FIRST_MS;
    this.#restart = clock.setTimer(this.#restartMs, () => this.#start());
    this.#restartMs = Math.min(2 * this.#restartMs, OWNER_WATCH_RESTART_MAX_MS);
  }

  #tell(line: string): void {
    const stdin = this.#shell?.stdin;
    if (stdin?.writable === true) stdin.write(line);
  }
}
