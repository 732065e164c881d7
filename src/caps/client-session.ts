/** `ClientSession`, `Upload` and `Task`: what a client that was admitted holds. */
import type { Struct } from "capnp-es";
import { CHUNK_BYTES_MAX, LABEL_LENGTH_MAX, POWERS_NAMED_MAX } from "../base/limits.ts";
import type { Digest } from "../base/ids.ts";
import { ClientSession$Client, Task$Client, Upload$Client } from "../generated/client.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import {
  type Submission,
  type SubmittedForm,
  type TaskStatus,
  decodeSubmission,
  decodeTaskStatus,
  encodeSubmission,
  encodeTaskStatus,
} from "./client-codec.ts";
import { type EventPage, decodeEvents, encodeEvents } from "./event-codec.ts";
import {
  type LogPage,
  type LogPlace,
  decodeLogPage,
  decodeLogPlace,
  encodeLogPage,
  encodeLogPlace,
} from "./log-codec.ts";
import {
  DIGEST_BYTES,
  decodeData,
  decodeDigest,
  decodeText,
  decodeTexts,
  encodeData,
  encodeDigest,
  encodeTexts,
  invalidMessage,
} from "./scalars.ts";

const [SUBMIT, FIND, UPLOAD, NARROW, UPLOAD_FILE, EVENTS] = ClientSession$Client.methods;
const [WRITE, FINISH] = Upload$Client.methods;
const [OUTCOME, STATUS, CANCEL, RETRY, LOG] = Task$Client.methods;
/** Pointer indexes of interface fields, as `schema/client.capnp` lays them out. */
const SUBMIT_RESULTS_TASK = 0;
const FIND_RESULTS_TASK = 0;
const UPLOAD_RESULTS_UPLOAD = 0;
const NARROW_RESULTS_SESSION = 0;

export interface ClientSessionTarget extends Partial<Disposable> {
  /** Resolves when the task is durable. The capability to it becomes the caller's. */
  submit(form: SubmittedForm): Promise<{ readonly task: Capability; readonly id: string }>;
  /** The capability becomes the caller's. */
  find(id: string): Promise<Capability>;
  /** The capability becomes the caller's. */
  upload(): Promise<Capability>;
  /** For an input file. The capability becomes the caller's. */
  uploadFile(): Promise<Capability>;
  /** A session with no more than the powers of these names. The capability becomes the caller's. */
  narrow(powers: readonly string[]): Promise<Capability>;
  /** Events after the one of this name; empty: from now on. Resolves when there are some. The signal ends the waiting. */
  events(after: string, options: { readonly signal: AbortSignal }): Promise<EventPage>;
}

export interface UploadTarget extends Partial<Disposable> {
  /** Takes the bytes over. Called in the order of the calls. */
  write(bytes: Uint8Array): Promise<void>;
  finish(): Promise<Digest>;
}

export interface TaskTarget extends Partial<Disposable> {
  /** Resolves when the task has finished. The signal ends the waiting. */
  outcome(options: { readonly signal: AbortSignal }): Promise<TaskStatus>;
  status(): Promise<TaskStatus>;
  cancel(): Promise<TaskStatus>;
  retry(): Promise<TaskStatus>;
  /** Resolves when there is something to tell, if it is to follow. The signal ends the waiting. */
  log(from: LogPlace, options: { readonly signal: AbortSignal }): Promise<LogPage>;
}

/** Owns its capability. */
export class ClientSessionClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /**
   * Submits and returns at once; calls on the task are pipelined, and fail as the submission fails. `accepted` resolves
   * with the task's id when it is durable. The task is the caller's.
   */
  submit(
    submission: Submission,
    options: CallOptions = {},
  ): { readonly task: TaskClient; readonly accepted: Promise<string> } {
    const answer = this.capability.call(
      SUBMIT,
      (params) => encodeSubmission(params._initSubmission(), submission),
      options,
    );
    const task = new TaskClient(answer.pipeline(SUBMIT_RESULTS_TASK));
    const accepted = answer.result().then((results) => decodeText(results.id, LABEL_LENGTH_MAX, "an id"));
    const release = (): void => answer[Symbol.dispose]();
    accepted.then(release, release);
    return { task, accepted };
  }

  /** The task is the caller's. */
  async find(id: string, options: CallOptions = {}): Promise<TaskClient> {
    using answer = this.capability.call(FIND, (params) => (params.id = id), options);
    const task = getCapability(await answer.result(), FIND_RESULTS_TASK);
    if (task === undefined) throw invalidMessage("a find without a task");
    return new TaskClient(task);
  }

  /** The upload is the caller's. */
  async upload(options: CallOptions = {}): Promise<UploadClient> {
    using answer = this.capability.call(UPLOAD, undefined, options);
    return uploadOf(await answer.result());
  }

  /** Of an input file. The upload is the caller's. */
  async uploadFile(options: CallOptions = {}): Promise<UploadClient> {
    using answer = this.capability.call(UPLOAD_FILE, undefined, options);
    return uploadOf(await answer.result());
  }

  /** Events after the one of this name, `last` of the page before; empty: from now on. */
  async events(after: string, options: CallOptions = {}): Promise<EventPage> {
    using answer = this.capability.call(EVENTS, (params) => (params.after = after), options);
    return decodeEvents(await answer.result());
  }

  /** A session that can do no more than this: `read`, `submit`, `admin`. It is the caller's. */
  async narrow(powers: readonly string[], options: CallOptions = {}): Promise<ClientSessionClient> {
    using answer = this.capability.call(
      NARROW,
      (params) => encodeTexts((length) => params._initCan(length), powers),
      options,
    );
    const session = getCapability(await answer.result(), NARROW_RESULTS_SESSION);
    if (session === undefined) throw invalidMessage("no session");
    return new ClientSessionClient(session);
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** Owns its capability. */
export class UploadClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** At most CHUNK_BYTES_MAX. */
  async write(bytes: Uint8Array, options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(WRITE, (params) => encodeData(params._initBytes(bytes.length), bytes), options);
    await answer.result();
  }

  async finish(options: CallOptions = {}): Promise<Digest> {
    using answer = this.capability.call(FINISH, undefined, options);
    return decodeDigest((await answer.result()).digest);
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** Owns its capability. */
export class TaskClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Resolves when the task has finished. */
  async outcome(options: CallOptions = {}): Promise<TaskStatus> {
    using answer = this.capability.call(OUTCOME, undefined, options);
    return decodeTaskStatus((await answer.result()).status);
  }

  async status(options: CallOptions = {}): Promise<TaskStatus> {
    using answer = this.capability.call(STATUS, undefined, options);
    return decodeTaskStatus((await answer.result()).status);
  }

  async cancel(options: CallOptions = {}): Promise<TaskStatus> {
    using answer = this.capability.call(CANCEL, undefined, options);
    return decodeTaskStatus((await answer.result()).status);
  }

  /** The next page of a run's log. */
  async log(from: LogPlace, options: CallOptions = {}): Promise<LogPage> {
    using answer = this.capability.call(LOG, (params) => encodeLogPlace(params, from), options);
    return decodeLogPage((await answer.result()).page);
  }

  /** Its failed and cancelled runs run again. */
  async retry(options: CallOptions = {}): Promise<TaskStatus> {
    using answer = this.capability.call(RETRY, undefined, options);
    return decodeTaskStatus((await answer.result()).status);
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

function uploadOf(results: Struct): UploadClient {
  const upload = getCapability(results, UPLOAD_RESULTS_UPLOAD);
  if (upload === undefined) throw invalidMessage("no upload");
  return new UploadClient(upload);
}

/** `target` is disposed when nobody holds the session any more; what it gave out lives on. */
export function serveClientSession(target: ClientSessionTarget): Capability {
  return serve(ClientSession$Client, {
    submit: async (params, results) => {
      const submitted = await target.submit(decodeSubmission(params.submission));
      using task = submitted.task;
      setCapability(results, SUBMIT_RESULTS_TASK, task);
      results.id = submitted.id;
    },
    find: async (params, results) => {
      using task = await target.find(params.id);
      setCapability(results, FIND_RESULTS_TASK, task);
    },
    upload: async (_params, results) => {
      using upload = await target.upload();
      setCapability(results, UPLOAD_RESULTS_UPLOAD, upload);
    },
    uploadFile: async (_params, results) => {
      using upload = await target.uploadFile();
      setCapability(results, UPLOAD_RESULTS_UPLOAD, upload);
    },
    narrow: async (params, results) => {
      using session = await target.narrow(decodeTexts(params.can, POWERS_NAMED_MAX, LABEL_LENGTH_MAX, "powers"));
      setCapability(results, NARROW_RESULTS_SESSION, session);
    },
    events: async (params, results, { signal }) => {
      const after = decodeText(params.after, LABEL_LENGTH_MAX, "an event's name");
      encodeEvents(results, await target.events(after, { signal }));
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

export function serveUpload(target: UploadTarget): Capability {
  return serve(Upload$Client, {
    write: (params) => target.write(decodeData(params.bytes, CHUNK_BYTES_MAX, "uploaded bytes")),
    finish: async (_params, results) => {
      encodeDigest(results._initDigest(DIGEST_BYTES), await target.finish());
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

export function serveTask(target: TaskTarget): Capability {
  return serve(Task$Client, {
    outcome: async (_params, results, { signal }) => {
      encodeTaskStatus(results._initStatus(), await target.outcome({ signal }));
    },
    status: async (_params, results) => encodeTaskStatus(results._initStatus(), await target.status()),
    cancel: async (_params, results) => encodeTaskStatus(results._initStatus(), await target.cancel()),
    retry: async (_params, results) => encodeTaskStatus(results._initStatus(), await target.retry()),
    log: async (params, results, { signal }) => {
      encodeLogPage(results._initPage(), await target.log(decodeLogPlace(params), { signal }));
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}
