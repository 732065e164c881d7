/**
 * What `import { serveWorker } from "capmesh/worker"` gives, in Node: a worker that runs tasks by functions of your own.
 * A task with `entry=<kind>` goes to workers that have an executor of that kind, and to no others.
 */
import { closestName } from "../api/closest.ts";
import type { RunningApp } from "../app/app.ts";
import type { LogLevel } from "../app/config-sources.ts";
import { runProgramWorker } from "../app/program-worker.ts";
import { ClusterError, failed } from "../base/errors.ts";
import { KIND_PATTERN_TEXT, type Entry, WASM_ENTRIES, parseCustomKind } from "../model/entry.ts";
import type { CustomEnd, CustomIo, CustomOutcome, CustomRun } from "../worker/custom-executor.ts";
import type { GuestSpec } from "../worker/guest.ts";

export { ClusterError };

export interface ServeWorkerInit {
  /** The gateway: `<peerId>[#secret]`, a multiaddr, or `host:port`; several are a fallback list. */
  readonly dial: string | readonly string[];
  /** What runs tasks, by their kind: the `entry` that they are submitted with, `[a-z][a-z0-9-]{0,31}`. */
  readonly executors: Readonly<Record<string, KindExecutor>>;
  /** The join secret, where `dial` does not have it. */
  readonly secret?: string | undefined;
  /** Of the cluster. Default: `capmesh`. */
  readonly namespace?: string | undefined;
  /** This worker's folder, for its identity and what it keeps. Default: the first free one in `~/.local/share/capmesh`. */
  readonly data?: string | undefined;
  /** Runs at once, of all kinds together. Default: as many as there are cores. */
  readonly slots?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** For the gateway's `weighted` policy. Default: 1. */
  readonly weight?: number | undefined;
  /** Whether to look for the gateway by multicast. Default: it does. */
  readonly mdns?: boolean | undefined;
  /** Whether it runs WebAssembly too, in sandboxed processes. Default: it does not. */
  readonly wasm?: boolean | undefined;
  /** How long `close` waits for runs under way, in milliseconds; what has not ended then is tried elsewhere. Default: 30,000. */
  readonly graceMs?: number | undefined;
  /** What is logged on stderr. Default: `warn`. */
  readonly log?: LogLevel | undefined;
}

export interface KindExecutor {
  /**
   * Runs one attempt. What it returns is the outcome: nothing, or 0, is success; a number an exit code; what it throws is
   * `trapped`, with the message as the reason.
   *
   * `signal` is aborted when the task is cancelled, when its `timeout` is over, when it has written too much of a task
   * that is to fail by that, when the worker has lost its lease, and when it closes. The attempt ends then, whatever this
   * does: it has to stop soon, as it still uses its machine. With as many that have not stopped as there are slots, the worker
   * takes no more of the kind.
   *
   * An attempt may be one of several of its run (`spec.attempt`), and the one before may have got anywhere: its worker may
   * have been lost after its work was done.
   */
  run(spec: KindRun, io: KindIo, signal: AbortSignal): Promise<KindOutcome> | KindOutcome;
}

/** What is to be run. */
export interface KindRun {
  /** The task's `entry`. */
  readonly kind: string;
  readonly task: string;
  /** From 1. */
  readonly run: number;
  /** From 1. */
  readonly attempt: number;
  /** Whose task it is. */
  readonly submitter: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Wall time, held by the worker. */
  readonly timeoutMs: number;
  /** Globs: what `io.keep` takes. */
  readonly outputs: readonly string[];
}

/** A file of this machine, to be read and not changed, until the run has ended. */
export interface RunFile {
  /** As the task names it. */
  readonly path: string;
  readonly bytes: number;
  readonly localPath: string;
}

export interface KindIo {
  readonly stdin: Uint8Array;
  /** The task's `wasm` or `module`, whatever bytes it has; undefined: it came without. */
  readonly module: { readonly sha256: string; readonly localPath: string } | undefined;
  /** The task's `files`. */
  readonly files: readonly RunFile[];
  /** Appends to the run's log. Resolves when more is welcome: await it before the next. */
  stdout(content: string | Uint8Array): Promise<void>;
  stderr(content: string | Uint8Array): Promise<void>;
  /**
   * Has a file kept, if the run exits; resolves with false if none of the task's `outputs` wants it. What is named by a
   * `localPath` is read when the run has ended. At most 1,000 files and 64 MiB together.
   */
  keep(path: string, content: string | Uint8Array | { readonly localPath: string }): Promise<boolean>;
}

/**
 * How an attempt ended. Nothing: exit code 0. `value` of an exit, a whole number of 32 bits, is the task's result. `lost` is
 * tried elsewhere, without spending `retries`.
 */
export type KindOutcome = void | number | (CustomOutcome & { readonly value?: number | undefined });

/** A worker that serves. Disposing it closes it. */
export interface ServedWorker extends AsyncDisposable {
  readonly peerId: string;
  /** Settles when it is closed; rejects when it cannot go on. */
  readonly finished: Promise<void>;
  /** Takes no more runs, waits for those under way, and closes. Resolves when that is done; never rejects. Idempotent. */
  close(): Promise<void>;
  /** Closes at once: the gateway tries elsewhere what is under way. */
  abort(): void;
}

/**
 * Starts a worker in this process, which dials until it is closed. Resolves when it has begun to. Rejects with a ClusterError,
 * code `usage`, for what is not valid, and where its folder is in use.
 */
export async function serveWorker(init: ServeWorkerInit): Promise<ServedWorker> {
  const runs = new Map<Entry, CustomRun>();
  for (const [name, executor] of Object.entries(init.executors)) runs.set(parseKind(name), customRun(executor));
  if (runs.size === 0) throw usage("executors is empty: give it a function for one kind at least");
  const app = await runProgramWorker({
    flags: flagsOf(init),
    log: init.log ?? "warn",
    runs,
    runsWasm: init.wasm ?? false,
  });
  return served(app);
}

function served(app: RunningApp): ServedWorker {
  return {
    peerId: app.ready.peerId,
    finished: app.finished,
    close: () => app.drain(),
    abort: () => app.abort(),
    [Symbol.asyncDispose]: () => app.drain(),
  };
}

function flagsOf(init: ServeWorkerInit): Parameters<typeof runProgramWorker>[0]["flags"] {
  const { dial, secret, namespace, data, slots, labels, weight, mdns, graceMs } = init;
  return {
    dial: typeof dial === "string" ? [dial] : dial,
    secret,
    ns: namespace,
    data,
    slots: slots?.toString(),
    label: labels && Object.entries(labels).map(([key, value]) => `${key}=${value}`),
    weight: weight?.toString(),
    mdns,
    grace: graceMs === undefined ? undefined : `${graceMs}ms`,
  };
}

function parseKind(name: string): Entry {
  const slip = closestName(name, WASM_ENTRIES);
  if (slip !== undefined) {
    throw usage(`the kind ${JSON.stringify(name)} is too like ${slip}, which is WebAssembly's: choose another name`);
  }
  const kind = parseCustomKind(name);
  if (kind === undefined) throw usage(`${JSON.stringify(name.slice(0, 64))} is no kind: ${KIND_PATTERN_TEXT}`);
  return kind;
}

function usage(message: string): ClusterError {
  return failed(message, { code: "usage" });
}

function customRun(executor: KindExecutor): CustomRun {
  return async (spec, io, signal) => parseEnd(await executor.run(kindRun(spec), kindIo(spec, io), signal));
}

function kindRun({ id, entry, submitter, args, env, timeoutMs, outputs }: GuestSpec): KindRun {
  if (id === undefined || entry.kind !== "custom") throw failed("a run has a name, and a kind");
  const { task, run, attempt } = id;
  return { kind: entry.name, task, run, attempt, submitter, args, env, timeoutMs, outputs };
}

function kindIo({ stdin, digest, modulePath, files }: GuestSpec, io: CustomIo): KindIo {
  const write = (stream: "stdout" | "stderr", content: unknown): Promise<void> =>
    io.write(stream, bytesOf(content) ?? misfit(stream, content, "a string or a Uint8Array"));
  return {
    stdin,
    module: digest === undefined || modulePath === undefined ? undefined : { sha256: digest, localPath: modulePath },
    files: files.map(({ path, bytes, contentPath }) => ({ path, bytes, localPath: contentPath })),
    stdout: (content) => write("stdout", content),
    stderr: (content) => write("stderr", content),
    keep: (path, content: unknown) =>
      io.keep(path, keptOf(content) ?? misfit("keep", content, "a string, a Uint8Array or { localPath: string }")),
  };
}

/** Of whatever a function gives, which its language may not have checked; undefined: it has none. */
function bytesOf(content: unknown): Uint8Array | undefined {
  if (typeof content === "string") return Buffer.from(content);
  return content instanceof Uint8Array ? content : undefined;
}

function keptOf(content: unknown): Uint8Array | { readonly localPath: string } | undefined {
  if (typeof content !== "object" || content === null || !("localPath" in content)) return bytesOf(content);
  return typeof content.localPath === "string" ? { localPath: content.localPath } : undefined;
}

/** Thrown at once, and not by a promise that the function may not look at. */
function misfit(name: "stdout" | "stderr" | "keep", content: unknown, expected: string): never {
  const what = content === null ? "null" : typeof content;
  throw new TypeError(`${name} takes ${expected}, and was given ${what === "object" ? "another object" : what}`);
}

const REASONED = ["trapped", "timed-out", "memory-exceeded", "rejected", "lost"] as const;

/** Whatever a function returned. Throws what becomes `trapped` where it means nothing. */
function parseEnd(returned: unknown): CustomEnd {
  if (returned === undefined) return { outcome: { kind: "exited", code: 0 } };
  if (typeof returned === "number") return { outcome: { kind: "exited", code: parseCode(returned) } };
  if (typeof returned !== "object" || returned === null || !("kind" in returned)) throw meaningless(returned);
  const { kind } = returned;
  const reason = "reason" in returned && typeof returned.reason === "string" ? returned.reason : undefined;
  if (kind === "exited") {
    const code = parseCode("code" in returned ? returned.code : 0);
    const value = "value" in returned ? parseValue(returned.value) : undefined;
    return { outcome: { kind, code }, ...(value !== undefined && { value }) };
  }
  if (kind === "output-exceeded") return { outcome: { kind, reason } };
  const reasoned = REASONED.find((each) => each === kind);
  if (reasoned === undefined) throw meaningless(kind);
  return { outcome: { kind: reasoned, reason: reason ?? "its executor says no more" } };
}

function parseCode(code: unknown): number {
  if (typeof code === "number" && Number.isInteger(code) && code >= -(2 ** 31) && code < 2 ** 32) return code;
  throw failed(`the executor returned ${String(code)} for an exit code, and 32 bits hold it`);
}

function parseValue(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 32) return String(value);
  throw failed("the executor returned a value that is no whole number from 0 to 4294967295");
}

function meaningless(returned: unknown): ClusterError {
  const what = typeof returned === "string" ? JSON.stringify(returned.slice(0, 40)) : typeof returned;
  return failed(`the executor returned ${what}, and an exit code, an outcome or nothing is expected`);
}
