/** Starts `peer-process.ts`, possibly through another program (`unshare`, `ip netns exec`), and listens to it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";

const eventSchema = z.looseObject({ event: z.string() });
export type PeerEvent = z.infer<typeof eventSchema>;

export interface PeerProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly events: readonly PeerEvent[];
  /** The first event, past or future, that fits and comes after the first `after` ones. Rejects if the process ends. */
  waitFor(fits: (event: PeerEvent) => boolean, after?: number): Promise<PeerEvent>;
  kill(signal: NodeJS.Signals): void;
}

export interface SpawnPeerOptions {
  /** A program and its arguments that runs the peer. */
  readonly through?: readonly string[];
}

const SCRIPT = join(import.meta.dirname, "peer-process.ts");

export function spawnPeer(options: object, { through = [] }: SpawnPeerOptions = {}): PeerProcess {
  const self = [SCRIPT, JSON.stringify(options)];
  const [program, ...args] = through;
  const child = spawn(
    program ?? process.execPath,
    program === undefined ? self : [...args, process.execPath, ...self],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const events: PeerEvent[] = [];
  const listeners = new Set<() => void>();
  const exited = once(child, "exit");
  const wake = (): void => {
    for (const listener of listeners) listener();
  };
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      events.push(eventSchema.parse(JSON.parse(line)));
      wake();
    });
  }
  child.once("exit", () => setImmediate(wake));
  return {
    child,
    events,
    waitFor: (fits, after = 0) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = events.slice(after).find(fits);
          if (found !== undefined) resolve(found);
          else if (child.exitCode !== null || child.signalCode !== null) {
            reject(
              new Error(`the peer ended: ${child.exitCode ?? child.signalCode}; it told ${JSON.stringify(events)}`),
            );
          } else return;
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    kill: (signal) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    },
  };
}

export function isEvent(name: string): (event: PeerEvent) => boolean {
  return ({ event }) => event === name;
}

/** A text field of an event. */
export function textOf(event: PeerEvent, field: string): string {
  return z.string().parse(event[field]);
}

export function textsOf(event: PeerEvent, field: string): string[] {
  return z.array(z.string()).parse(event[field]);
}
