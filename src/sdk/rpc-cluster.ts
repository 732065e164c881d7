/**
 * A cluster over Cap'n Proto: what a program holds are capabilities. A session can be narrowed and handed on; a task is
 * the authority over that one task; what came of a token ends with it.
 */
import { ClusterError, failed } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX } from "../base/limits.ts";
import { silentLog } from "../base/log.ts";
import { systemClock } from "../base/system-clock.ts";
import { BootstrapClient, type Credential } from "../caps/bootstrap.ts";
import type { Submission, SubmittedFile, TaskStatus } from "../caps/client-codec.ts";
import type { ClientSessionClient, TaskClient, UploadClient } from "../caps/client-session.ts";
import type { ClientEvent } from "../caps/event-codec.ts";
import type { LogPiece } from "../caps/log-codec.ts";
import { isJoinProof, joinProof, makeNonce } from "../net/join-proof.ts";
import { connectSocket, parseSocketAddress } from "../net/socket-endpoint.ts";
import { parseRpcName } from "../base/ids.ts";
import type { Capability } from "../rpc/capability.ts";
import { Connection } from "../rpc/connection.ts";

export interface RpcConnectInit {
  /** What the program calls itself: 1 to 64 of `[A-Za-z0-9._-]`, the first a letter or digit. Default `client`. */
  readonly name?: string | undefined;
  /** Over TCP one of these two; over a unix socket neither. */
  readonly token?: string | undefined;
  /** The join secret. */
  readonly secret?: string | undefined;
  /** Of the cluster, where the secret is given; default `capmesh`. */
  readonly namespace?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A submission whose module and files may be of any size the gateway takes. */
export type RpcSubmission = Omit<Submission, "module" | "files"> & {
  /** Its bytes, or the digest of one that the gateway has; left out with an entry of a worker's own that needs none. */
  readonly module?: Uint8Array | string | undefined;
  /** What the guest finds below its `/`, by path. */
  readonly files?: Readonly<Record<string, Uint8Array>> | undefined;
};

export interface RpcLogOptions extends SubmitOptions {
  /** From 1; default: the run that started last. */
  readonly run?: number | undefined;
  /** The byte of the run's log to begin with; default 0. */
  readonly offset?: number | undefined;
  /** Go on until the run is over; default true. */
  readonly follow?: boolean | undefined;
}

export interface SubmitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Disposing it drops the session; disposing the one that `connectRpc` gave ends the connection. Tasks are not touched. */
export class RpcCluster implements AsyncDisposable {
  readonly #session: ClientSessionClient;
  readonly #connection: Connection | undefined;

  /** Takes the session, and the connection where it is to end with it. */
  constructor(session: ClientSessionClient, connection?: Connection) {
    this.#session = session;
    this.#connection = connection;
  }

  /** For calls that this class has no method for, and to be handed on; borrowed. */
  get capability(): Capability {
    return this.#session.capability;
  }

  /** Resolves once the task is on disk: from then on it is not lost. The task is the caller's. */
  async submit({ module, files = {}, ...fields }: RpcSubmission, { signal }: SubmitOptions = {}): Promise<RpcTask> {
    // What is uploaded is held until the task holds it.
    using uploads = new DisposableStack();
    const uploaded: SubmittedFile[] = [];
    for (const [path, bytes] of Object.entries(files)) {
      const upload = uploads.use(await this.#session.uploadFile({ signal }));
      uploaded.push({ path, digest: await send(upload, bytes, signal) });
    }
    const submission = { ...fields, files: uploaded };
    if (module instanceof Uint8Array && module.length > CHUNK_BYTES_MAX) {
      const upload = uploads.use(await this.#session.upload({ signal }));
      return await this.#submit({ ...submission, module: await send(upload, module, signal) }, signal);
    }
    const named = typeof module === "string" ? parseModuleDigest(module) : module;
    return await this.#submit({ ...submission, module: named }, signal);
  }

  /** The task that has this id now. The caller's. Rejects with `failed`, code `no-such-task`. */
  async find(id: string, { signal }: SubmitOptions = {}): Promise<RpcTask> {
    return new RpcTask(await this.#session.find(id, { signal }), id);
  }

  /** Every change of tasks, runs, attempts and workers from now on; `reset`: some were missed, read everything anew. */
  async *events({ signal }: SubmitOptions = {}): AsyncGenerator<ClientEvent, void> {
    for (let after = ""; ;) {
      const page = await this.#session.events(after, { signal });
      yield* page.events;
      after = page.last;
    }
  }

  /** A cluster that can do no more than `powers` of what this one can: `read`, `submit`, `admin`. The caller's. */
  async narrow(powers: readonly string[], { signal }: SubmitOptions = {}): Promise<RpcCluster> {
    return new RpcCluster(await this.#session.narrow(powers, { signal }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session[Symbol.dispose]();
    await this.#connection?.close();
  }

  async #submit(submission: Submission, signal: AbortSignal | undefined): Promise<RpcTask> {
    const { task, accepted } = this.#session.submit(submission, { signal });
    try {
      return new RpcTask(task, await accepted);
    } catch (thrown) {
      task[Symbol.dispose]();
      throw thrown;
    }
  }
}

/** Owns its capability. Disposing it lets go of the task, which goes on. */
export class RpcTask implements Disposable {
  readonly id: string;
  readonly #task: TaskClient;

  constructor(task: TaskClient, id: string) {
    this.#task = task;
    this.id = id;
  }

  /** Borrowed: to be handed on. */
  get capability(): Capability {
    return this.#task.capability;
  }

  status({ signal }: SubmitOptions = {}): Promise<TaskStatus> {
    return this.#task.status({ signal });
  }

  /** Resolves when it has finished, however it ended. Rejects with `disconnected` when the connection is lost: `find` it again. */
  wait({ signal }: SubmitOptions = {}): Promise<TaskStatus> {
    return this.#task.outcome({ signal });
  }

  cancel({ signal }: SubmitOptions = {}): Promise<TaskStatus> {
    return this.#task.cancel({ signal });
  }

  /** Its failed and cancelled runs run again. */
  retry({ signal }: SubmitOptions = {}): Promise<TaskStatus> {
    return this.#task.retry({ signal });
  }

  /**
   * What a run writes, as it comes, in the order in which it came over both streams; read at the reader's own pace. The
   * offset to resume at is a piece's `offset` and its length.
   */
  async *logs({ run = 0, offset = 0, follow = true, signal }: RpcLogOptions = {}): AsyncGenerator<LogPiece, void> {
    for (let place = { run, offset, follow }; ;) {
      const page = await this.#task.log(place, { signal });
      yield* page.pieces;
      if (page.isEnd) return;
      place = { run: page.run, offset: page.nextOffset, follow };
    }
  }

  [Symbol.dispose](): void {
    this.#task[Symbol.dispose]();
  }
}

/** Resolves with the digest under which it is held. */
async function send(upload: UploadClient, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<Digest> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES_MAX) {
    await upload.write(bytes.subarray(at, at + CHUNK_BYTES_MAX), { signal });
  }
  return await upload.finish({ signal });
}

/** Connects to `tcp:host:port` or `unix:path` and logs in. Rejects with `failed`, code `refused`, or `disconnected`. */
export async function connectRpc(address: string, init: RpcConnectInit = {}): Promise<RpcCluster> {
  const { signal } = init;
  const stream = await connectSocket({ address: parseSocketAddress(address), clock: systemClock, signal });
  const connection = new Connection({ stream, clock: systemClock, log: silentLog });
  try {
    using bootstrap = new BootstrapClient(connection.bootstrap());
    return new RpcCluster(await login(bootstrap, init), connection);
  } catch (thrown) {
    connection.abort(thrown instanceof ClusterError ? thrown : failed("the login failed", { cause: thrown }));
    throw thrown;
  }
}

async function login(bootstrap: BootstrapClient, init: RpcConnectInit): Promise<ClientSessionClient> {
  const { name = "client", token, secret, signal } = init;
  if (secret === undefined) {
    const credential: Credential = token === undefined ? { kind: "none", name } : { kind: "token", token, name };
    return (await bootstrap.loginClient(credential, { signal })).session;
  }
  const { nonce, gateway } = await bootstrap.challengeBy({ signal });
  const own = parseRpcName(name);
  if (gateway === undefined || own === undefined) {
    throw failed("the join secret is proven over plain RPC, by a client with a name", { code: "refused" });
  }
  const input = {
    secret,
    namespace: init.namespace ?? "capmesh",
    gatewayPeerId: gateway,
    workerPeerId: own,
    gatewayNonce: nonce,
    workerNonce: makeNonce(),
  };
  const proof = joinProof("client", input);
  const admission = await bootstrap.loginClient(
    { kind: "join", workerNonce: input.workerNonce, proof, name },
    { signal },
  );
  if (isJoinProof("gateway", input, admission.proof)) return admission.session;
  admission.session[Symbol.dispose]();
  throw failed("it admitted this client without knowing the join secret: it is not the gateway", {
    code: "not-the-gateway",
  });
}

function parseModuleDigest(text: string): Digest {
  if (/^[0-9a-f]{64}$/.test(text)) return text as Digest;
  throw failed("a module is named by its SHA-256, in 64 hex digits", { code: "invalid-field" });
}
