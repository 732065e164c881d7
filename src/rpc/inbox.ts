/**
 * What comes in on a connection's stream: cut into messages, handled one by one in the order they came, and not read at all
 * while this process is behind.
 *
 *     reading --behind--> stopped --no longer behind--> reading
 *                           |
 *                           +--READ_STALL_MS_MAX--> shedding --no longer behind--> reading
 *
 * While it sheds, everything is read, and calls are refused: what would bring relief may be among the rest.
 *
 * A message that has begun to come has a time to be whole, so that half of one holds its memory for that long only.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import { FRAME_MS_MAX, READ_STALL_MS_MAX } from "../base/limits.ts";
import type { ByteStream } from "./byte-stream.ts";
import { type Frame, FrameReader } from "./framing.ts";

export interface InboxInit {
  readonly stream: ByteStream;
  readonly clock: Clock;
  /** More is under way than should be. Asked before each message. */
  readonly isBehind: () => boolean;
  readonly handle: (frame: Frame) => void;
  /** What `handle` or a malformed frame threw, or that a message does not come to its end. Nothing more is read. */
  readonly onFault: (thrown: unknown) => void;
}

export class Inbox {
  readonly #init: InboxInit;
  readonly #frames = new FrameReader();
  #state: "reading" | "stopped" | "shedding" | "closed" = "reading";
  #isResuming = false;
  #stall: Timer | undefined;
  /** Runs while part of a message waits for the rest. */
  #rest: Timer | undefined;
  #framesRead = 0;

  constructor(init: InboxInit) {
    this.#init = init;
  }

  /** Calls are to be refused. */
  get isShedding(): boolean {
    return this.#state === "shedding" && this.#init.isBehind();
  }

  get isStopped(): boolean {
    return this.#state === "stopped";
  }

  /** Takes the bytes over. */
  push(bytes: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#frames.push(bytes);
    this.#read();
  }

  /** Something was sent, or a call ended: perhaps reading may go on. Cheap when it has not stopped. */
  relieved(): void {
    if (this.#state !== "stopped" || this.#isResuming) return;
    this.#isResuming = true;
    queueMicrotask(() => {
      this.#isResuming = false;
      if (!this.#init.isBehind()) this.#resume("reading");
    });
  }

  close(): void {
    this.#state = "closed";
    this.#endStall();
    this.#rest?.[Symbol.dispose]();
  }

  #read(): void {
    if (this.#state === "stopped") return;
    try {
      while (this.#mayRead()) {
        const frame = this.#frames.next();
        if (frame === undefined) return this.#awaitRest();
        this.#framesRead++;
        this.#init.handle(frame);
      }
    } catch (thrown) {
      this.close();
      this.#init.onFault(thrown);
    }
  }

  /** One timer serves many messages: it looks whether any was completed since it was set. */
  #awaitRest(): void {
    if (this.#rest !== undefined || this.#frames.bufferedBytes === 0) return;
    const framesRead = this.#framesRead;
    this.#rest = this.#init.clock.setTimer(FRAME_MS_MAX, () => {
      this.#rest = undefined;
      // What we do not read cannot come to its end.
      if (this.#framesRead !== framesRead || this.isStopped) return this.#awaitRest();
      this.close();
      const seconds = FRAME_MS_MAX / 1000;
      this.#init.onFault(
        failed(`half a message came, and no more within ${seconds} s`, { code: "message-unfinished" }),
      );
    });
  }

  #mayRead(): boolean {
    if (this.#state === "closed") return false;
    if (!this.#init.isBehind()) {
      this.#state = "reading";
      return true;
    }
    if (this.#state === "shedding") return true;
    this.#state = "stopped";
    this.#init.stream.pause();
    this.#stall = this.#init.clock.setTimer(READ_STALL_MS_MAX, () => this.#resume("shedding"));
    return false;
  }

  #resume(state: "reading" | "shedding"): void {
    if (this.#state !== "stopped") return;
    this.#endStall();
    this.#state = state;
    this.#read();
    if (!this.isStopped) this.#init.stream.resume();
  }

  #endStall(): void {
    this.#stall?.[Symbol.dispose]();
    this.#stall = undefined;
  }
}
