/** One end of a simulated connection. What it writes travels its direction of the link, in order, to the other end. */
import { type ClusterError, disconnected } from "../../src/base/errors.ts";
import type { ByteStream, ByteStreamReceiver } from "../../src/rpc/byte-stream.ts";
import type { Direction } from "./sim-link.ts";
import type { SimProcess } from "./sim-process.ts";

/** `end` is the writer's last word; `reset` says that the writer is gone. */
type Packet =
  | { readonly kind: "bytes"; bytes: Uint8Array; readonly arrivesAtMs: number }
  | { readonly kind: "end" | "reset"; readonly arrivesAtMs: number };

export class SimStream implements ByteStream {
  readonly label: string;
  readonly #process: SimProcess;
  readonly #out: Direction;
  #other: SimStream | undefined;
  #receiver: ByteStreamReceiver | undefined;
  /** On their way to the other end. */
  readonly #lane: Packet[] = [];
  #laneBytes = 0;
  #isMoving = false;
  #isPaused = false;
  /** This end writes no more; the other end writes no more. */
  #isClosed = false;
  #isOtherClosed = false;
  #isOver = false;
  /** Delivery to this end goes on. */
  #onTaking: (() => void) | undefined;
  #waiters: (() => void)[] = [];
  readonly #onOver: (() => void)[] = [];

  constructor(label: string, process: SimProcess, out: Direction) {
    this.label = label;
    this.#process = process;
    this.#out = out;
    // The kernel closes what a dead process had open: some of what it wrote may still arrive.
    process.onKilled(() => this.#vanish(this.#out.chance(0.5)));
  }

  join(other: SimStream): void {
    this.#other = other;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Calls when this end is over; at once if it is. */
  onOver(act: () => void): void {
    if (this.#isOver) act();
    else this.#onOver.push(act);
  }

  /** Something came to the other end that is none of what the streams carry: a ping. False: nobody is there any more. */
  knock(): boolean {
    if (this.#other?.isOver === false) return true;
    this.#expectReset();
    return false;
  }

  start(receiver: ByteStreamReceiver): void {
    this.#receiver = receiver;
    this.#takeOn();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || this.#isOver) return true;
    if (bytes.byteLength > 0) {
      this.#laneBytes += bytes.byteLength;
      this.#send({ kind: "bytes", bytes, arrivesAtMs: this.#arrival(bytes.byteLength) });
    }
    return this.#hasRoom();
  }

  drained(): Promise<void> {
    if (this.#hasRoom() || this.#isOver) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#takeOn();
  }

  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      if (!this.#isOver) this.#send({ kind: "end", arrivesAtMs: this.#arrival(0) });
    }
    const wake = (): void => this.#wake();
    signal?.addEventListener("abort", wake, { once: true });
    while (this.#lane.length > 0 && !this.#isOver && signal?.aborted !== true) {
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    signal?.removeEventListener("abort", wake);
  }

  abort(reason: ClusterError): void {
    if (this.#isOver) return;
    this.#isClosed = true;
    this.#vanish(this.#out.chance(0.5));
    this.#process.loop.after(0, () => this.#process.deliver(() => this.#receiver?.onEnd(reason)));
  }

  /**
   * The connection is gone for this end, and by no doing of either. The other one is told, or learns it by the answer to
   * what it sends next; until then it takes the connection for a good one.
   */
  drop({ isTold }: { readonly isTold: boolean }): void {
    if (this.#isOver) return;
    this.#isClosed = true;
    this.#finish();
    this.#lane.length = 0;
    if (isTold) this.#send({ kind: "reset", arrivesAtMs: this.#arrival(0) });
    this.#process.deliver(() => this.#receiver?.onEnd(disconnected("the connection was reset")));
  }

  /** This end is gone from one moment to the next; what is on its way may arrive still. */
  #vanish(keepsLane: boolean): void {
    if (this.#isOver) return;
    this.#finish();
    if (!keepsLane) this.#lane.length = 0;
    this.#send({ kind: "reset", arrivesAtMs: this.#arrival(0) });
  }

  #finish(): void {
    this.#isOver = true;
    this.#wake();
    for (const act of this.#onOver) act();
    // The other end's bytes come to nobody: it is told so when the next of them arrive.
    this.#takeOn();
  }

  #arrival(bytes: number): number {
    const last = this.#lane.at(-1)?.arrivesAtMs ?? 0;
    return Math.max(last, this.#process.loop.nowMs + this.#out.delayMs(bytes));
  }

  #send(packet: Packet): void {
    this.#lane.push(packet);
    this.#move();
  }

  /** Brings the first packet to the other end, then the next. */
  #move(): void {
    const [first] = this.#lane;
    if (this.#isMoving || first === undefined) return;
    this.#isMoving = true;
    this.#process.loop.after(first.arrivesAtMs - this.#process.loop.nowMs, () => this.#arrive());
  }

  #arrive(): void {
    const [first] = this.#lane;
    if (first === undefined) return this.#moved();
    if (!this.#out.isCut) return this.#other?.offer(first, this);
    // A reset is said once; everything else is sent again until it arrives.
    if (first.kind === "reset") this.#lane.length = 0;
    this.#out.whenMended(() => this.#process.loop.after(this.#out.delayMs(), () => this.#arrive()));
  }

  #moved(): void {
    this.#isMoving = false;
    this.#move();
  }

  /** The other end has this packet for us. It is taken when this process gets to it. */
  private offer(packet: Packet, from: SimStream): void {
    if (this.#isOver) return from.#refused();
    if (packet.kind !== "reset" && (this.#receiver === undefined || this.#isPaused)) {
      this.#onTaking = () => this.offer(packet, from);
      return;
    }
    this.#process.deliver(() => {
      if (this.#isOver) from.#refused();
      else if (packet.kind !== "reset" && this.#isPaused) this.#onTaking = () => this.offer(packet, from);
      else this.#take(packet, from);
    });
  }

  #take(packet: Packet, from: SimStream): void {
    if (packet.kind === "bytes") {
      const piece = packet.bytes.subarray(0, from.#out.pieceOf(packet.bytes.byteLength));
      from.#taken(packet, piece.byteLength);
      this.#receiver?.onBytes(Uint8Array.from(piece));
      return;
    }
    from.#lane.shift();
    if (packet.kind === "reset") {
      // Without an error or with one: both have been seen of peers that were killed.
      const error = from.#out.chance(0.5) ? disconnected("the connection was reset") : undefined;
      this.#finish();
      this.#receiver?.onEnd(error);
      return;
    }
    this.#isOtherClosed = true;
    if (this.#isClosed) this.#finish();
    if (from.#isOtherClosed) from.#finish();
    else from.#wake();
    this.#receiver?.onEnd();
  }

  #taken(packet: Extract<Packet, { kind: "bytes" }>, bytes: number): void {
    this.#laneBytes -= bytes;
    if (bytes === packet.bytes.byteLength) this.#lane.shift();
    else packet.bytes = packet.bytes.subarray(bytes);
    if (this.#hasRoom()) this.#wake();
    this.#moved();
  }

  /** The other end is gone: what this one still sends is answered with a reset. */
  #refused(): void {
    this.#lane.length = 0;
    this.#laneBytes = 0;
    this.#isMoving = false;
    this.#expectReset();
  }

  /** What was sent is sent again until the answer gets through. */
  #expectReset(): void {
    const other = this.#other;
    if (this.#isOver || other === undefined) return;
    this.#process.loop.after(other.#out.delayMs(), () => {
      if (this.#isOver) return;
      if (other.#out.isCut) return other.#out.whenMended(() => this.#expectReset());
      this.#process.deliver(() => {
        if (this.#isOver) return;
        this.#finish();
        this.#receiver?.onEnd(disconnected("the connection was reset"));
      });
    });
  }

  #takeOn(): void {
    const offer = this.#onTaking;
    if (offer === undefined) return;
    this.#onTaking = undefined;
    this.#process.loop.after(0, offer);
  }

  #hasRoom(): boolean {
    return this.#laneBytes <= this.#out.highWaterBytes;
  }

  /** Those who wait are in this end's process, whoever has made room. */
  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    if (waiters.length > 0) this.#process.deliver(() => waiters.forEach((wake) => wake()));
  }
}
