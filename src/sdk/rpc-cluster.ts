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
import type { Submission, TaskStatus } from "../caps/client-codec.ts";
import type { ClientSessionClient, TaskClient } from "../caps/client-session.ts";
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

/** A submission whose module may be of any size the gateway takes. */
export type RpcSubmission = Omit<Submission, "module"> & { readonly module: Uint8Array | string };

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
  async submit({ module, ...fields }: RpcSubmission, { signal }: SubmitOptions = {}): Promise<RpcTask> {
    if (module instanceof Uint8Array && module.length > CHUNK_BYTES_MAX) {
      using upload = await this.#session.upload({ signal });
      for (let at = 0; at < module.length; at += CHUNK_BYTES_MAX) {
        await upload.write(module.subarray(at, at + CHUNK_BYTES_MAX), { signal });
      }
      // Held until the task holds it.
      return await this.#submit({ ...fields, module: await upload.finish({ signal }) }, signal);
    }
    return this.#submit({ ...fields, module: typeof module === "string" ? parseModuleDigest(module) : module }, signal);
  }

  /** The task that has this id now. The caller's. Rejects with `failed`, code `no-such-task`. */
  async find(id: string, { signal }: SubmitOptions = {}): Promise<RpcTask> {
    return new RpcTask(await this.#session.find(id, { signal }), id);
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

  [Symbol.dispose](): void {
    this.#task[Symbol.dispose]();
  }
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
