/**
 * Preloaded into a process that must not outlive the one that started it. `CAPMESH_LIFELINE` names a file descriptor:
 * the reading end of a pipe whose other end the parent holds and never writes to. It ends when the parent is gone,
 * however it went, SIGKILL included; then so are we, just as abruptly.
 */
import { Socket } from "node:net";

const descriptor = Number(process.env.CAPMESH_LIFELINE);
delete process.env.CAPMESH_LIFELINE;
if (descriptor > 2) {
  const lifeline = new Socket({ fd: descriptor, readable: true, writable: false });
  lifeline.on("error", () => {});
  lifeline.on("close", () => process.kill(process.pid, "SIGKILL"));
  lifeline.resume();
  lifeline.unref();
}
