/** What the handlers of all resources share. */
import type { Clock } from "../../base/clock.ts";
import type { Span, Tracer } from "../../base/tracing.ts";
import type { Log } from "../../base/log.ts";
import type { ModuleInspector } from "../../inspect/inspector.ts";
import type { BlobStore } from "../../store/blobs.ts";
import type { Store } from "../../store/store.ts";
import type { AuditLog } from "../audit.ts";
import type { EventHub } from "../events.ts";
import type { Grant } from "../grant.ts";
import type { BlobPins } from "../blob-pins.ts";
import type {
  JoinSecretRotation,
  MemberSource,
  Readiness,
  RunStarts,
  StoreReadiness,
  TaskService,
  WorkerDirectory,
} from "../services.ts";
import type { Tokens } from "../tokens.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { LogEvents } from "./log-events.ts";
import type { SharedLogs } from "./shared-log.ts";
import type { SseStreams } from "./sse-stream.ts";
import type { UploadSlots } from "./upload-slots.ts";
import type { IncomingMessage } from "node:http";

export interface HttpContext {
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly pins: BlobPins;
  readonly tasks: TaskService;
  readonly workers: WorkerDirectory;
  readonly members: MemberSource;
  readonly joinSecret: JoinSecretRotation;
  readonly events: EventHub;
  readonly readiness: Readiness;
  readonly storeHealth: StoreReadiness;
  readonly starts: RunStarts | undefined;
  readonly inspector: ModuleInspector;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly moduleBytesMax: number;
  /** Shared by all forms that come in. */
  readonly uploadMemory: ByteBudget;
  readonly uploadSlots: UploadSlots;
  readonly streams: SseStreams;
  readonly logs: SharedLogs;
  readonly logEvents: LogEvents;
  /** Aborted when the server begins to close: whoever waits answers with what there is. */
  readonly closing: AbortSignal;
  /** A new UUID, version 7, as text. */
  readonly newId: () => string;
  readonly tracer: Tracer;
  /** Of requests that are being answered, and traced. */
  readonly spans: WeakMap<IncomingMessage, Span>;
  /** By what each request acts, once `access` has let it pass. */
  readonly grants: WeakMap<IncomingMessage, Grant>;
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  /** Requests whose clients wait for `100 Continue` before they send their body. */
  readonly heldBack: WeakSet<IncomingMessage>;
}
