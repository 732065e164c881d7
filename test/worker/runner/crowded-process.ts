/** A program that has no file descriptor left when it starts runners and transpiles, and says what came of it. */
import { closeSync, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { ComponentTranspiler } from "../../../src/worker/runner/component-transpiler.ts";
import { OwnerWatch } from "../../../src/sandbox/owner-watch.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { RUNNER_CELL } from "../../../src/worker/runner/runner-cell.ts";
import { RunnerShelf } from "../../../src/worker/runner/runner-shelf.ts";
import { guestBytes } from "../../support/guests.ts";
import { digestOf } from "./pool-harness.ts";

const [scratchFolder = ""] = process.argv.slice(2);
const component = guestBytes("component");
const digest = digestOf(component);
const sandbox = await Sandbox.open({ scratchFolder, log: silentLog });
const cell = await sandbox.openCell(RUNNER_CELL);
const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock: systemClock, slots: 1 });
const { signal } = new AbortController();
await transpiler.transpile(digest, component, { signal });
await rm(join(scratchFolder, "components"), { recursive: true });

const watch = new OwnerWatch({ clock: systemClock, log: silentLog });
const init = {
  cell,
  warm: 1,
  spares: 0,
  baselineSpares: 0,
  max: 2,
  runsPerRunner: 100,
  watch,
  clock: systemClock,
  log: silentLog,
};
const shelf = new RunnerShelf(init);
const opened: number[] = [];
try {
  for (;;) opened.push(openSync("/dev/null", "r"));
} catch {
  // That was the last.
}
const started = await shelf.open().then(
  () => "started",
  () => "not started",
);
const transpiled = await transpiler.transpile(digest, component, { signal }).then(
  () => "transpiled",
  () => "not transpiled",
);
for (const fd of opened) closeSync(fd);
// It tries again by itself.
let runner = shelf.runners()[0];
const deadlineMs = performance.now() + 30_000;
while (runner?.state !== "idle") {
  if (performance.now() > deadlineMs) throw new Error("no runner came up once there were descriptors again");
  await new Promise((resolve) => setImmediate(resolve));
  runner = shelf.runners()[0];
}
await shelf.close();
await watch.close();
process.stdout.write(`${started}, ${transpiled}, then started\n`);
