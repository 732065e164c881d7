/**
 * ByteStream over a socket of `node:net`: TCP or a unix socket, for peers in any language that have a Cap'n Proto
 * library. Nothing here authenticates the other side.
 *
 * The stream is whole or closed, never half open for long: when the other side has ended and all its bytes were
 * delivered, ours is ended too.
 */
import type { Socket } from "node:net";
import type { Clock, Timer } from "../base/clock.ts";
import { disconnected, messageOf, overloaded, type ClusterError } from "../base/errors.ts";
import { CLOSE_LINGER_MS, TRANSPORT_WRITE_BYTES_MAX, TRANSPORT_WRITE_HIGH_BYTES } from "../base/limits.ts";
import type { ByteStream, ByteStreamReceiver } from "../rpc/byte-stream.ts";
import { atEndOfTick } from "./end-of-tick.ts";
import { InboundDelivery } from "./inbound-delivery.ts";
import { untilAborted } from "./until-aborted.ts";

export interface SocketByteStreamInit {
  /** Connected, made with `allowHalfOpen`, not read from before. The stream owns it. */
  readonly socket: Socket;
  readonly label: string;
  readonly clock: Clock;
}

export class SocketByteStream implements ByteStream {
  readonly label: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #inbound: InboundDelivery;
  #isCorked = false;
  #isClosed = false;
  #closed: Promise<void> | undefined;
  #linger: Timer | undefined;
  #drainWaiters: (() => void)[] = [];

  constructor(init: SocketByteStreamInit) {
    this.label = init.label;
    this.#socket = init.socket;
    this.#clock = init.clock;
    this.#inbound = new InboundDelivery({
      pauseSource: () => this.#socket.pause(),
      resumeSource: () => this.#socket.resume(),
      onReceiverFault: (reason) => this.abort(reason),
    });
    init.socket.setNoDelay(true);
    init.socket.pause();
    init.socket.on("data", (bytes: Buffer) => this.#inbound.push(bytes));
    init.socket.on("end", () => this.#inbound.end());
    init.socket.on("error", (error) =>
      this.#inbound.end(disconnected(`connection to ${this.label} lost: ${messageOf(error)}`, { cause: error })),
    );
    init.socket.on("drain", () => this.#wakeDrainWaiters());
    init.socket.on("close", () => this.#onSocketClose());
  }

  start(receiver: ByteStreamReceiver): void {
    this.#inbound.start({
      onBytes: (bytes) => receiver.onBytes(bytes),
      onEnd: (error) => {
        if (error === undefined) void this.close();
        receiver.onEnd(error);
      },
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || !this.#socket.writable) return true;
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#socket.cork();
      atEndOfTick(() => this.#uncork());
    }
    this.#socket.write(bytes);
    const { writableLength } = this.#socket;
    if (writableLength > TRANSPORT_WRITE_BYTES_MAX) {
      this.abort(overloaded(`${this.label} does not read: ${writableLength} bytes are waiting`));
    }
    return writableLength <= TRANSPORT_WRITE_HIGH_BYTES;
  }

  drained(): Promise<void> {
    if (this.#isWriteWelcome()) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  pause(): void {
    this.#inbound.pause();
  }

  resume(): void {
    this.#inbound.resume();
  }

  close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closed ??= this.#endWriting();
    return untilAborted(this.#closed, signal);
  }

  abort(reason: ClusterError): void {
    this.#isClosed = true;
    this.#inbound.cut(reason);
    // A reset tells the other side that this is no clean end. Unix sockets have none, and a shutdown forbids it.
    if (this.#socket.remoteAddress !== undefined && !this.#socket.writableEnded) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  #endWriting(): Promise<void> {
    this.#isClosed = true;
    this.#uncork();
    return new Promise((resolve) => {
      if (this.#socket.destroyed) {
        resolve();
        return;
      }
      this.#socket.once("close", () => resolve());
      this.#socket.end(() => {
        resolve();
        if (this.#socket.destroyed) return;
        this.#linger = this.#clock.setTimer(CLOSE_LINGER_MS, () => this.#socket.destroy());
      });
    });
  }

  #uncork(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#socket.uncork();
  }

  #isWriteWelcome(): boolean {
    return this.#socket.destroyed || this.#socket.writableLength <= TRANSPORT_WRITE_HIGH_BYTES;
  }

  #wakeDrainWaiters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const wake of waiters) wake();
  }

  #onSocketClose(): void {
    this.#isClosed = true;
    this.#linger?.[Symbol.dispose]();
    this.#wakeDrainWaiters();
    this.#inbound.end(this.#closed === undefined ? disconnected(`connection to ${this.label} lost`) : undefined);
  }
}
