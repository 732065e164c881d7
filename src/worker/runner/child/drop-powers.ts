/**
 * Takes from this process what Node's permission model leaves open, before any guest's code is loaded: signals to other
 * processes, native bindings, engine flags, and every built-in module. Core modules could not reach these anyway; the
 * JavaScript that a component is transpiled to could, and it derives from a stranger's bytes.
 *
 * Afterwards no module can be imported but the one that `allowImport` names.
 */
import { registerHooks } from "node:module";
import process from "node:process";

/** Globals that let JavaScript reach out of, or into the bowels of, its process. What Node itself needs, it keeps. */
const DROPPED_GLOBALS = [
  "process",
  "Buffer",
  "global",
  "fetch",
  "WebSocket",
  "EventSource",
  "BroadcastChannel",
  "MessageChannel",
  "MessagePort",
  "Worker",
  "navigator",
  "localStorage",
  "sessionStorage",
  "Storage",
  "require",
  "module",
] as const;

let allowedSpecifier: string | undefined;

/** Lets `import(specifier)` through until the next call; every other import is refused. */
export function allowImport(specifier: string | undefined): void {
  allowedSpecifier = specifier;
}

export function dropPowers(): void {
  registerHooks({
    resolve(specifier, context, nextResolve) {
      if (specifier !== allowedSpecifier) throw new Error("a guest may not import anything");
      return nextResolve(specifier, context);
    },
  });
  // The process object itself goes too: nothing that holds it is handed on, and its methods are the way out.
  for (const name of Object.getOwnPropertyNames(process)) {
    if (KEPT_OF_PROCESS.has(name)) continue;
    Reflect.deleteProperty(process, name);
  }
  for (const name of DROPPED_GLOBALS) Reflect.deleteProperty(globalThis, name);
}

/** What Node's own code looks up on `process` while it runs and shuts down. None of it acts on anything outside. */
const KEPT_OF_PROCESS: ReadonlySet<string> = new Set([
  "version",
  "versions",
  "arch",
  "platform",
  "release",
  "argv",
  "execArgv",
  "env",
  "pid",
  "ppid",
  "execPath",
  "title",
  "permission",
  "features",
  "config",
  "domain",
  "_events",
  "_eventsCount",
  "_maxListeners",
  "_exiting",
  "exitCode",
  "exit",
  "reallyExit",
  "nextTick",
  "emitWarning",
  "hrtime",
  "stderr",
  "stdout",
  "stdin",
]);
