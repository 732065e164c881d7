/**
 * The synchronous rendezvous under every channel: `send` returns when a receiver has taken the value, `recv` when a
 * sender has given one. It holds no values but those of senders that wait: a waiting sender *is* the queue.
 *
 * Order: first come, first served, on both sides. A holder of the Rendezvous itself may take any waiting sender instead.
 *
 * Commit point: removing the waiting sender. Nothing here awaits, so it is one step: before it the sender may vanish,
 * and its value is then dropped and never delivered; after it the value is the receiver's, exactly once, whatever
 * becomes of the sender. A sender whose signal is aborted is gone from that moment, even for a listener of the same
 * signal that runs before ours.
 *
 *     send ──▶ waiting ──take, recv────────────────▶ delivered (the value is the receiver's)
 *        │        └──cancelled, cut off, closed──▶ dropped (`drop` is called with it, once)
 *        └──refused: cancelled, closed, full─────▶ dropped
 *
 * Ownership: `send` takes the value over, even when it rejects. Waiting senders and receivers never both exist.
 */
import { CHANNEL_WAITERS_MAX } from "../base/limits.ts";
import { type ClusterError, disconnected, overloaded } from "../base/errors.ts";
import { type Link, WaitList } from "./wait-list.ts";

/** A sender that waits, or waited. Its value may be looked at; using it is for who takes it. */
export interface Offer<T> {
  readonly value: T;
}

export interface WaitOptions {
  /** Withdraws at once when aborted; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Sender<T> {
  /**
   * Resolves when a receiver has taken the value. Rejects with the signal's reason when it was withdrawn,
   * `disconnected` (code `channel-closed`) when the channel is closed, `overloaded` (code `channel-full`) when too many
   * wait. Takes the value over in each case.
   */
  send(value: T, options?: WaitOptions): Promise<void>;
}

export interface Receiver<T> {
  /** Resolves with a value that is the caller's from then on. Rejects as `send` does. */
  recv(options?: WaitOptions): Promise<T>;
}

export interface RendezvousInit<T> {
  /** Disposes of a value whose sender vanished, or was refused. Called once for each such value. Must not throw. */
  readonly drop: (value: T) => void;
  /** Senders, or receivers, that may wait. Default: CHANNEL_WAITERS_MAX. */
  readonly waitersMax?: number | undefined;
}

export class Rendezvous<T extends NonNullable<unknown>> implements Sender<T>, Receiver<T> {
  readonly #drop: (value: T) => void;
  readonly #waitersMax: number;
  readonly #senders = new WaitList<WaitingSender<T>>();
  readonly #receivers = new WaitList<WaitingReceiver<T>>();
  readonly #offerListeners = new Set<() => void>();
  #closedBecause: ClusterError | undefined;

  constructor(init: RendezvousInit<T>) {
    this.#drop = init.drop;
    this.#waitersMax = init.waitersMax ?? CHANNEL_WAITERS_MAX;
  }

  get isClosed(): boolean {
    return this.#closedBecause !== undefined;
  }

  /** Senders that wait. */
  get offersWaiting(): number {
    return this.#senders.length;
  }

  get receiversWaiting(): number {
    return this.#receivers.length;
  }

  send(value: T, options: WaitOptions = {}): Promise<void> {
    return this.#send(value, options.signal, undefined);
  }

  /**
   * A facet that can only send, and that can be cut off: when `signal` is aborted, all that wait through it vanish, and
   * later sends through it are refused, with the signal's reason.
   */
  sender(init: { readonly signal: AbortSignal }): Sender<T> {
    const group: SenderGroup<T> = { signal: init.signal, waiting: new Set() };
    const onCutOff = (): void => {
      for (const sender of group.waiting) this.#withdrawSender(sender, init.signal.reason);
    };
    init.signal.addEventListener("abort", onCutOff, { once: true });
    return { send: (value, options = {}) => this.#send(value, options.signal, group) };
  }

  recv(options: WaitOptions = {}): Promise<T> {
    const { signal } = options;
    const refusal = this.#refusal(signal, this.#receivers.length);
    if (refusal !== undefined) return Promise.reject(refusal);
    const value = this.tryTakeFirst();
    if (value !== undefined) return Promise.resolve(value);
    const receiver = new WaitingReceiver<T>(signal);
    receiver.onAbort((reason) => this.#withdrawReceiver(receiver, reason));
    this.#receivers.push(receiver);
    return receiver.promise;
  }

  /** The senders that wait, in their order. A snapshot: any of them may be gone by the time it is taken. */
  waiting(): readonly Offer<T>[] {
    const offers: Offer<T>[] = [];
    for (const sender of this.#senders) {
      if (sender.cancelReason() === undefined) offers.push(sender);
    }
    return offers;
  }

  /** Takes the value of this waiting sender; undefined when the sender is gone, or is none of this rendezvous. */
  take(offer: Offer<T>): T | undefined {
    if (!WaitingSender.is(offer) || offer.rendezvous !== this || !offer.isLinked) return undefined;
    const cancelled = offer.cancelReason();
    if (cancelled !== undefined) {
      this.#withdrawSender(offer, cancelled);
      return undefined;
    }
    this.#unlinkSender(offer);
    offer.resolve();
    return offer.value;
  }

  /** Takes the value that has waited longest; undefined when no sender waits. */
  tryTakeFirst(): T | undefined {
    for (let first = this.#senders.first; first !== undefined; first = this.#senders.first) {
      const value = this.take(first);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /**
   * Calls `listener` each time a sender has begun to wait, until disposed. It runs inside that `send`: it may take the
   * offer, and must not throw.
   */
  onOffer(listener: () => void): Disposable {
    const own = (): void => listener();
    this.#offerListeners.add(own);
    return { [Symbol.dispose]: () => this.#offerListeners.delete(own) };
  }

  /** Fails all that wait, now and later, with `disconnected`. Idempotent. */
  close(reason = "the channel is closed"): void {
    if (this.#closedBecause !== undefined) return;
    const error = disconnected(reason, { code: "channel-closed" });
    this.#closedBecause = error;
    for (let first = this.#senders.first; first !== undefined; first = this.#senders.first) {
      this.#withdrawSender(first, error);
    }
    for (let first = this.#receivers.first; first !== undefined; first = this.#receivers.first) {
      this.#withdrawReceiver(first, error);
    }
  }

  #send(value: T, signal: AbortSignal | undefined, group: SenderGroup<T> | undefined): Promise<void> {
    const refusal = this.#refusal(signal, this.#senders.length) ?? abortReason(group?.signal);
    if (refusal !== undefined) {
      this.#drop(value);
      return Promise.reject(refusal);
    }
    const receiver = this.#takeReceiver();
    if (receiver !== undefined) {
      receiver.resolve(value);
      return Promise.resolve();
    }
    const sender = new WaitingSender<T>(value, this, signal, group);
    sender.onAbort((reason) => this.#withdrawSender(sender, reason));
    group?.waiting.add(sender);
    this.#senders.push(sender);
    for (const listener of this.#offerListeners) listener();
    return sender.promise;
  }

  /** Why a newcomer may not wait; undefined if it may. */
  #refusal(signal: AbortSignal | undefined, waiting: number): unknown {
    const reason = abortReason(signal) ?? this.#closedBecause;
    if (reason !== undefined) return reason;
    if (waiting < this.#waitersMax) return undefined;
    return overloaded(`${waiting} already wait on this channel`, { code: "channel-full" });
  }

  #unlinkSender(sender: WaitingSender<T>): boolean {
    sender.group?.waiting.delete(sender);
    return this.#senders.remove(sender);
  }

  #withdrawSender(sender: WaitingSender<T>, reason: unknown): void {
    if (!this.#unlinkSender(sender)) return;
    sender.reject(reason);
    this.#drop(sender.value);
  }

  #withdrawReceiver(receiver: WaitingReceiver<T>, reason: unknown): void {
    if (this.#receivers.remove(receiver)) receiver.reject(reason);
  }

  /** The receiver that has waited longest, taken out of its queue. */
  #takeReceiver(): WaitingReceiver<T> | undefined {
    for (let first = this.#receivers.first; first !== undefined; first = this.#receivers.first) {
      const cancelled = first.cancelReason();
      if (cancelled === undefined) {
        this.#receivers.remove(first);
        return first;
      }
      this.#withdrawReceiver(first, cancelled);
    }
    return undefined;
  }
}

/** The senders of one facet. */
interface SenderGroup<T extends NonNullable<unknown>> {
  readonly signal: AbortSignal;
  readonly waiting: Set<WaitingSender<T>>;
}

/** One side's wait: its promise, and its signal, which is listened to until the promise is settled. */
class Waiter<Result> {
  readonly promise: Promise<Result>;
  readonly #settle: PromiseWithResolvers<Result>;
  readonly #signal: AbortSignal | undefined;
  #abortListener: (() => void) | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#settle = Promise.withResolvers<Result>();
    this.promise = this.#settle.promise;
    this.#signal = signal;
  }

  /** Calls once, when the signal is aborted before the wait has ended. */
  onAbort(callback: (reason: unknown) => void): void {
    const signal = this.#signal;
    if (signal === undefined) return;
    this.#abortListener = () => callback(signal.reason);
    signal.addEventListener("abort", this.#abortListener, { once: true });
  }

  /** Why it no longer waits, whether or not its listeners have run; undefined while it does. */
  cancelReason(): unknown {
    return abortReason(this.#signal);
  }

  resolve(result: Result): void {
    this.#unlisten();
    this.#settle.resolve(result);
  }

  reject(reason: unknown): void {
    this.#unlisten();
    this.#settle.reject(reason);
  }

  #unlisten(): void {
    if (this.#abortListener !== undefined) this.#signal?.removeEventListener("abort", this.#abortListener);
  }
}

class WaitingSender<T extends NonNullable<unknown>> extends Waiter<void> implements Offer<T>, Link<WaitingSender<T>> {
  previous: WaitingSender<T> | undefined;
  next: WaitingSender<T> | undefined;
  isLinked = false;
  readonly value: T;
  readonly rendezvous: Rendezvous<T>;
  readonly group: SenderGroup<T> | undefined;

  constructor(value: T, rendezvous: Rendezvous<T>, signal: AbortSignal | undefined, group: SenderGroup<T> | undefined) {
    super(signal);
    this.value = value;
    this.rendezvous = rendezvous;
    this.group = group;
  }

  static is<T extends NonNullable<unknown>>(offer: Offer<T>): offer is WaitingSender<T> {
    return offer instanceof WaitingSender;
  }

  override cancelReason(): unknown {
    return super.cancelReason() ?? abortReason(this.group?.signal);
  }
}

class WaitingReceiver<T> extends Waiter<T> implements Link<WaitingReceiver<T>> {
  previous: WaitingReceiver<T> | undefined;
  next: WaitingReceiver<T> | undefined;
  isLinked = false;
}

/** Why the signal is aborted, undefined if it is not. */
function abortReason(signal: AbortSignal | undefined): unknown {
  return signal?.aborted ? (signal.reason ?? disconnected("withdrawn")) : undefined;
}
