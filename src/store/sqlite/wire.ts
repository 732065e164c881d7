/** The store's values as they cross to its thread and back. */
import { isRecord } from "../../base/json-shapes.ts";
import { parseStored } from "./damaged-row.ts";
import { decodeSpecShape, decodeStoredInspection, decodeStoredOutcome, decodeStoredResult } from "./stored-shapes.ts";
import { type TaskId, parseDigest } from "../../base/ids.ts";
import type { ModuleInspection, StoredModule } from "../../model/module.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { Attempt, Run } from "../../model/run.ts";
import { type Task, type TaskSpec, totalRuns } from "../../model/task.ts";
import { requirementKey } from "../../model/worker.ts";
import type { OpenRun } from "../inspection.ts";
import type {
  AttemptWire,
  ModulePosition,
  ModuleWire,
  OpenRunWire,
  RunWire,
  SpecWire,
  TaskPlan,
  TaskWire,
} from "./messages.ts";

/** The spec in a form the thread keeps, with a copy of the stdin that the thread may take. */
function encodeSpec(spec: TaskSpec): SpecWire & { readonly stdin: Uint8Array<ArrayBuffer> } {
  const { stdin, submitter, ...rest } = spec;
  return { text: JSON.stringify(rest), submitter, stdin: copyBytes(stdin) };
}

/** The stdin in it is a copy that the thread may take. */
export function encodeNewTask(spec: TaskSpec, inspection: ModuleInspection | undefined) {
  return {
    plan: planOf(spec),
    requirement: requirementKey(spec),
    after: spec.after,
    spec: encodeSpec(spec),
    inputDigests: spec.files.flatMap(({ digest }) => digest ?? []),
    inspection: inspection && JSON.stringify(inspection),
  };
}

function planOf(spec: TaskSpec): TaskPlan {
  return {
    id: spec.id,
    module: spec.module,
    firstDueAt: spec.firstDueAt,
    startAfterMs: typeof spec.start === "number" ? Math.round(spec.start * 1_000) : undefined,
    delayMs: spec.delayMs,
    total: totalRuns(spec),
    cron: spec.cron,
    timezone: spec.timezone,
    overlap: spec.overlap,
    catchup: spec.catchup,
    priority: spec.priority,
    retries: spec.retries,
    backoffMs: spec.backoffMs,
    retryOn: spec.retryOn.join(","),
    outputBytesMax: spec.outputBytesMax,
  };
}

/** Bytes in a buffer of their own. What is copied is the view, not the buffer it looks at. */
export function copyBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

export function decodeSpec(wire: SpecWire): TaskSpec {
  const { text, ...columns } = wire;
  const stored = parseStored(text);
  return decodeSpecShape({ ...EARLIER_SPEC, ...(isRecord(stored) ? stored : {}), ...columns });
}

/** Of a spec that an earlier version has kept: what it did not know of. */
const EARLIER_SPEC = {
  timezone: "UTC",
  overlap: "allow",
  catchup: "latest",
  after: [],
  files: [],
  outputs: [],
} as const;

/** `spec` is the one that the wire form has, or that the caller knew. */
export function decodeTask(wire: TaskWire, spec: TaskSpec): Task {
  return { ...wire, spec, result: wire.result === undefined ? undefined : decodeStoredResult(wire.result) };
}

export function decodeRun(wire: RunWire): Run {
  return {
    ...wire,
    attempts: wire.attempts.map(decodeAttempt),
    outcome: decodeOutcome(wire.outcome),
    result: wire.result === undefined ? undefined : decodeStoredResult(wire.result),
  };
}

export function decodeOpenRun(wire: OpenRunWire): OpenRun {
  return { ...wire, lastOutcome: decodeOutcome(wire.lastOutcome) };
}

function decodeAttempt(wire: AttemptWire): Attempt {
  return { ...wire, outcome: decodeOutcome(wire.outcome) };
}

function decodeOutcome(json: string | undefined): Outcome | undefined {
  return json === undefined ? undefined : decodeStoredOutcome(json);
}

export function decodeModule({ digest, inspection, createdAt }: ModuleWire): StoredModule {
  return { digest, inspection: decodeStoredInspection(inspection), createdAt };
}

/** Where a list goes on: below this serial. Its form is nobody's business but the store's. */
export function encodeCursor(serial: number): string {
  return Buffer.from(`tasks:${serial}`).toString("base64url");
}

/** As above, of a list of modules. */
export function encodeModuleCursor({ createdAt, digest }: ModulePosition): string {
  return Buffer.from(`modules:${createdAt}:${digest}`).toString("base64url");
}

/** Undefined: no list gave this. */
export function decodeModuleCursor(cursor: string): ModulePosition | undefined {
  const text = Buffer.from(cursor, "base64url").toString();
  const [, time = "", name = ""] = /^modules:([0-9.e+-]{1,32}):([0-9a-f]{64})$/.exec(text) ?? [];
  const digest = parseDigest(name);
  if (digest === undefined) return undefined;
  const position = { createdAt: Number(time), digest };
  return encodeModuleCursor(position) === cursor ? position : undefined;
}

/** Undefined: no list gave this. */
export function decodeCursor(cursor: string): number | undefined {
  const serial = /^tasks:([1-9][0-9]{0,15})$/.exec(Buffer.from(cursor, "base64url").toString())?.[1];
  if (serial === undefined || encodeCursor(Number(serial)) !== cursor) return undefined;
  return Number(serial);
}

/** Specs that were seen lately, by their task's serial. A spec never changes. */
export class SpecCache {
  readonly #bytesMax: number;
  readonly #specs = new Map<number, { readonly spec: TaskSpec; readonly bytes: number }>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(serial: number, id: TaskId): TaskSpec | undefined {
    const found = this.#specs.get(serial);
    if (found === undefined || found.spec.id !== id) return undefined;
    this.#specs.delete(serial);
    this.#specs.set(serial, found);
    return found.spec;
  }

  /** The spec of a wire form, decoded unless it is known. */
  decode(serial: number, wire: SpecWire): TaskSpec {
    const found = this.#specs.get(serial);
    if (found !== undefined) {
      this.#specs.delete(serial);
      this.#specs.set(serial, found);
      return found.spec;
    }
    const spec = decodeSpec(wire);
    const bytes = wire.text.length + wire.stdin.length;
    this.#specs.set(serial, { spec, bytes });
    this.#bytes += bytes;
    for (const [oldest, { bytes: oldestBytes }] of this.#specs) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#specs.delete(oldest);
      this.#bytes -= oldestBytes;
    }
    return spec;
  }
}
