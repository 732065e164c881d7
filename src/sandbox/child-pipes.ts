/** The pipes of a child process, and its end, as every owner of one has to see to them. */
import type { ChildProcess } from "node:child_process";
import { type Duplex, PassThrough } from "node:stream";

/**
 * The pipe that `spawn` was asked for at that descriptor; one that leads nowhere if there was no descriptor left: the
 * error that follows says so. The pipe's own errors are not told, since the end of the process is.
 */
export function parsePipe(child: ChildProcess, descriptor: number): Duplex {
  const pipes = child.stdio as readonly (Duplex | null)[] | undefined;
  const pipe = pipes?.[descriptor] ?? new PassThrough();
  pipe.on("error", () => {});
  return pipe;
}

export interface ChildEndInit {
  /** Resolves when the program is up behind its walls. */
  readonly started: Promise<unknown>;
  /** It runs no more; what it had said may still be on its way. */
  readonly onExit?: () => void;
  /** It is gone, and all that it had said has been read; or it never was there. May be called twice. */
  readonly onEnd: (reason: string) => void;
}

export function watchEnd(child: ChildProcess, { started, onExit, onEnd }: ChildEndInit): void {
  let hasStarted = false;
  started.then(
    () => (hasStarted = true),
    () => {},
  );
  child.on("error", (error) => onEnd(`it could not be started: ${error.message}`));
  child.on("exit", () => {
    // One that is killed while it starts may leave behind the process that it was about to become, with our pipes: that
    // one ends when they do, and has nothing to say.
    if (!hasStarted) for (const stream of child.stdio) stream?.destroy();
    onExit?.();
  });
  child.on("close", (code, signal) => onEnd(signal === null ? `it ended with code ${code}` : `it ended by ${signal}`));
}
