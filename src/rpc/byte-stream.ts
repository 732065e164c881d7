/**
 * What a connection runs over: a reliable, ordered stream of bytes between two vats. `net/` implements it over libp2p
 * streams, TCP and unix sockets; tests implement it in memory. One contract suite holds them all.
 */
import type { ClusterError } from "../base/errors.ts";

/**
 * The code of an end that this process has brought about because nothing came from the other side for too long: nobody
 * knows whether the other side is gone. Where it has ended the stream, or its machine has, the end has another code.
 */
export const PEER_SILENT = "peer-silent";

export interface ByteStreamReceiver {
  /** The bytes belong to the receiver. Called only while not paused, never from inside `start` or `resume`. */
  onBytes(bytes: Uint8Array): void;
  /** Called once, last. Without an error the other side ended the stream cleanly. */
  onEnd(error?: ClusterError): void;
}

export interface ByteStream {
  /** Who is at the other end, for logs: an address or peer id. */
  readonly label: string;
  /** Begins delivery. Called once; nothing is delivered, and nothing lost, before. */
  start(receiver: ByteStreamReceiver): void;
  /**
   * Queues bytes for sending, in order, and takes them over: the caller no longer changes them. False when so much is
   * queued that the caller should wait for `drained()`; the bytes are queued all the same. Ignored once closed.
   */
  write(bytes: Uint8Array): boolean;
  /** Resolves when writing is welcome again: at once if it is, and when the stream has ended. Never rejects. */
  drained(): Promise<void>;
  /** Stops delivery, at the latest after the call to `onBytes` under way; the sender is slowed down, nothing is lost. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then ends the stream. Resolves when that is done or the signal is aborted. Idempotent. */
  close(options?: { signal?: AbortSignal | undefined }): Promise<void>;
  /** Ends the stream now and drops what is queued. `onEnd` gets the reason if it was not called before. Never throws. */
  abort(reason: ClusterError): void;
}
