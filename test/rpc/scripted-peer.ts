/**
 * A peer that says exactly what a test tells it to, message by message, and shows what it is told. It reads and writes
 * with capnp-es's own structs of rpc.capnp, so that the vat's hand-made headers are held against something else.
 */
import { Message as Arena, type Struct, utils } from "capnp-es";
import * as rpc from "capnp-es/capnp/rpc";
import { disconnected } from "../../src/base/errors.ts";
import type { Capability, Method } from "../../src/rpc/capability.ts";
import type { Connection } from "../../src/rpc/connection.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { FrameReader } from "../../src/rpc/framing.ts";
import { type MemoryByteStream, type MemoryStreamPair, memoryStreamPair } from "../support/memory-byte-stream.ts";
import { connect, isIdle, settle, until } from "./vats.ts";

export class ScriptedPeer implements AsyncDisposable {
  /** The vat under test. */
  readonly vat: Connection;
  readonly streams: MemoryStreamPair = memoryStreamPair();
  readonly #stream: MemoryByteStream = this.streams.b;
  readonly #frames = new FrameReader();
  readonly #received: rpc.Message[] = [];
  #hasEnded = false;
  /** Set by a test that leaves tables filled on purpose. */
  isMessy = false;

  /** Takes the capability over. The clock stands still unless the test moves it. */
  constructor(bootstrap?: Capability, clock: Clock = new ManualClock()) {
    this.vat = connect(this.streams.a, bootstrap, clock);
    bootstrap?.[Symbol.dispose]();
    this.#stream.start({
      onBytes: (bytes) => {
        this.#frames.push(bytes);
        for (let frame = this.#frames.next(); frame; frame = this.#frames.next()) {
          this.#received.push(decodeMessage(frame.segments));
        }
      },
      onEnd: () => (this.#hasEnded = true),
    });
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  send(fill: (message: rpc.Message) => void): void {
    const arena = new Arena();
    fill(arena.initRoot(rpc.Message));
    this.sendBytes(new Uint8Array(arena.toArrayBuffer()));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  /** Messages that came in and were not taken. */
  get receivedCount(): number {
    return this.#received.length;
  }

  /** The vat's next message. */
  async next(): Promise<rpc.Message> {
    await until(
      () => this.#received.length > 0,
      () => "a message of the vat",
    );
    const message = this.#received.shift();
    if (message === undefined) throw new Error("a message was there");
    return message;
  }

  /** Messages of the vat that no test has looked at, once all is quiet. */
  async rest(): Promise<rpc.Message[]> {
    await settle();
    return this.#received.splice(0);
  }

  async return(): Promise<rpc.Return> {
    return (await this.next()).return;
  }

  /** Asks for the bootstrap capability; returns its export id. */
  async bootstrap(questionId = 0): Promise<number> {
    this.send((message) => (message._initBootstrap().questionId = questionId));
    const answer = await this.return();
    this.finish(questionId);
    return answer.results.capTable.at(0).senderHosted;
  }

  call<P extends Struct>(
    questionId: number,
    exportId: number,
    method: Method<P, Struct>,
    encode?: (params: P, capabilities: rpc.Payload) => void,
  ): void {
    this.send((message) => {
      const call = message._initCall();
      call.questionId = questionId;
      call._initTarget().importedCap = exportId;
      call.interfaceId = method.interfaceId;
      call.methodId = method.methodId;
      const payload = call._initParams();
      encode?.(utils.initStructAt(0, method.ParamsClass, payload), payload);
    });
  }

  finish(questionId: number, releaseResultCaps = false): void {
    this.send((message) => {
      const finish = message._initFinish();
      finish.questionId = questionId;
      finish.releaseResultCaps = releaseResultCaps;
    });
  }

  release(exportId: number, count = 1): void {
    this.send((message) => {
      const release = message._initRelease();
      release.id = exportId;
      release.referenceCount = count;
    });
  }

  /** The vat's last words, after something it could not accept. */
  async aborted(): Promise<rpc.Exception> {
    this.isMessy = true;
    const message = await this.next();
    await until(() => this.vat.ended.aborted);
    return message.abort;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (!this.isMessy) {
        await until(
          () => isIdle(this.vat),
          () => `empty tables: ${JSON.stringify(this.vat.stats())}`,
        );
      }
    } finally {
      this.vat.abort(disconnected("the test is over"));
      await this.streams[Symbol.asyncDispose]();
    }
  }
}

function decodeMessage(segments: readonly DataView[]): rpc.Message {
  const buffers = segments.map((view) => Uint8Array.from(bytesOf(view)).buffer);
  return new Arena({ kind: 1, buffers }).getRoot(rpc.Message);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
