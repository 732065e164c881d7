/**
 * `capmesh --gateway`, `capmesh --dial` and `capmesh up`: starts the process, says when it is ready, and ends it on
 * signals. The first signal drains, a second stops at once.
 */
import { networkInterfaces } from "node:os";
import type { Command } from "commander";
import type { Powers, ReadyLine, RunningApp } from "../app/app.ts";
import type { Config } from "../app/config.ts";
import { drainMsMax } from "../app/drain-times.ts";
import { createLog } from "../app/log.ts";
import { systemClock } from "../base/system-clock.ts";
import { type CommandContext, contextOf } from "./command-context.ts";
import { EXIT, UsageError } from "./exit-code.ts";

export type Role = ReadyLine["role"];

/** What a drained process may take beyond its grace to be gone, before it is ended all the same. */
const EXIT_MS_MAX = 500;
/** How long an aborted process may take to close before it is ended all the same. */
const ABORT_MS_MAX = 3_000;
/**
 * npm and the launcher pass a signal on that may have gone to the whole process group already. Within this time the
 * second of the two is the first again.
 */
const SAME_SIGNAL_MS = 250;

/** Runs the role that flags and settings ask for. Resolves with the exit code when the process has done its work. */
export async function startRole(command: Command, explicitRole?: Role): Promise<number> {
  const context = contextOf(command);
  const { config } = context;
  const role = explicitRole ?? roleOf(context);
  if (role === undefined) {
    throw new UsageError("say what to run: --gateway, --dial <where>, or a command; `capmesh --help` lists them");
  }
  const log = createLog({
    level: config.log,
    format: config.logFormat,
    isColorful: context.output.isColorful(process.stderr),
  });
  const powers: Powers = { clock: systemClock, random: { next: () => Math.random() }, log, env: process.env };
  const signals = new SignalListener({
    // Also if it is still starting then.
    endsAfterMs: drainMsMax(config.graceMs) + EXIT_MS_MAX,
    onLate: () => log.warn("the grace time is over: ending at once"),
  });
  const app = await startApp(role, config, powers);
  printReady(context, app.ready);
  signals.onFirst(() => {
    log.info("got a signal to stop; a second one stops at once");
    void app.drain();
  });
  signals.onSecond(() => {
    log.warn("stopping at once");
    app.abort();
    setTimeout(() => process.exit(EXIT.interrupted), ABORT_MS_MAX).unref();
  });
  try {
    await app.finished;
  } catch (error) {
    log.error("stopped: the process cannot go on", { error });
    return EXIT.taskFailed;
  }
  return signals.count > 1 ? EXIT.interrupted : EXIT.ok;
}

function roleOf({ config, origins }: CommandContext): Role | undefined {
  const isDialFlag = origins.dial.source === "flag";
  if (config.gateway && isDialFlag && origins.gateway.source === "flag") {
    throw new UsageError("--gateway and --dial: choose one; `capmesh up` runs a gateway and a worker in one process");
  }
  if (config.gateway && !isDialFlag) return "gateway";
  return config.dial.length > 0 ? "worker" : undefined;
}

async function startApp(role: Role, config: Config, powers: Powers): Promise<RunningApp> {
  switch (role) {
    case "gateway": {
      const { runGateway } = await import("../app/gateway-app.ts");
      return runGateway(config, powers);
    }
    case "worker": {
      const { runWorker } = await import("../app/worker-app.ts");
      return runWorker(config, powers);
    }
    case "up": {
      const { runUp } = await import("../app/up-app.ts");
      return runUp(config, powers);
    }
  }
}

/** One line on stdout: JSON with `--json`, else words and `key=value`. */
function printReady({ config, output }: CommandContext, ready: ReadyLine): void {
  output.line(config.json ? JSON.stringify(ready) : readyText(ready));
  if (config.json || ready.dial === undefined) return;
  output.say(`capmesh: HTTP API and dashboard at ${reachableUrl(ready.http ?? "-")}`);
  if (ready.tokenFile !== undefined) {
    output.say(`capmesh: it asks for a token; its own, which may do everything, is in a file of this machine:`);
    output.say(`capmesh:   export CAPMESH_TOKEN=$(cat '${ready.tokenFile}')`);
  }
  output.say(
    `capmesh: a worker joins with  capmesh --dial '${ready.dial}'  (on this machine the part before # is enough)`,
  );
}

/** `http://0.0.0.0:8080` is no address that anybody can open. */
function reachableUrl(http: string): string {
  const wildcard = /\/\/(?:0\.0\.0\.0|\[::\])(?=:)/;
  if (!wildcard.test(http)) return http;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const own = addresses.find(({ internal, family }) => !internal && family === "IPv4");
  return `${http.replace(wildcard, `//${own?.address ?? "127.0.0.1"}`)}, and at this machine's other addresses`;
}

export function readyText(ready: ReadyLine): string {
  const fields = Object.entries(ready).filter(([key, value]) => key !== "event" && value !== undefined);
  return [ready.event, ...fields.map(([key, value]) => `${key}=${String(value)}`)].join(" ");
}

/**
 * Takes signals from the first moment on. One that comes while the process is starting is kept and acted on when it is
 * up; a second one then ends it there and then, as nothing can be lost that was not accepted. So does the end of its time,
 * which begins with the first.
 */
class SignalListener {
  count = 0;
  #lastAtMs = -Infinity;
  readonly #isPassedOn = (process.env["npm_lifecycle_event"] ?? process.env["CAPMESH_LAUNCHED"]) !== undefined;
  #first: (() => void) | undefined;
  #second: () => void = () => process.exit(EXIT.interrupted);

  readonly #init: { readonly endsAfterMs: number; readonly onLate: () => void };

  constructor(init: { readonly endsAfterMs: number; readonly onLate: () => void }) {
    this.#init = init;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#take());
  }

  onFirst(listener: () => void): void {
    this.#first = listener;
    if (this.count > 0) listener();
  }

  onSecond(listener: () => void): void {
    this.#second = listener;
  }

  #take(): void {
    const nowMs = performance.now();
    const isSame = this.#isPassedOn && nowMs - this.#lastAtMs < SAME_SIGNAL_MS;
    this.#lastAtMs = nowMs;
    if (isSame) return;
    this.count++;
    if (this.count > 1) return this.#second();
    setTimeout(() => this.#late(), this.#init.endsAfterMs);
    this.#first?.();
  }

  #late(): never {
    this.#init.onLate();
    process.exit(this.count > 1 ? EXIT.interrupted : EXIT.ok);
  }
}
