/**
 * Writes RPC messages, by hand: a header is a few words at fixed places. Content that travels in a message goes first,
 * its segments as they are; the header is appended to segment 0, and word 0 becomes the pointer to it. So contents
 * are copied once, into the outgoing buffer, whether they were built here or came from elsewhere, and their far pointers
 * stay right.
 *
 * Every method queues one whole message or, when it is too large, throws a ClusterError and queues nothing.
 */
import { type ClusterError, failed } from "../base/errors.ts";
import { FRAME_BYTES_MAX } from "../base/limits.ts";
import type { Content } from "./content.ts";
import { encodeException } from "./exception.ts";
import type { Frame } from "./framing.ts";
import { type CapDescriptor, DISEMBARGO, MESSAGE, type MessageTarget, RETURN, SEND_RESULTS_TO } from "./message.ts";
import type { Outbox } from "./outbox.ts";
import type { Segments, Slot } from "./wire-pointer.ts";

const WORD = 8;
/** Message, its body, and the target or payload under it. */
const HEADER_BYTES_MAX = 160;
const NO_SEGMENTS: Segments = [];
const ROOT_SLOT: Slot = { segment: 0, offset: 0 };
const textEncoder = new TextEncoder();

export interface CallHeader {
  readonly questionId: number;
  readonly target: MessageTarget;
  readonly interfaceId: bigint;
  readonly methodId: number;
  readonly sendResultsTo: keyof typeof SEND_RESULTS_TO;
}

export class MessageWriter {
  readonly #outbox: Outbox;
  // The frame being written, in the outbox's buffer.
  #view: DataView = new DataView(new ArrayBuffer(0));
  #bytes: Uint8Array = new Uint8Array(0);
  #frameStart = 0;
  #contentStart = 0;
  #at = 0;
  #segments: Segments = NO_SEGMENTS;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  bootstrap(questionId: number): void {
    const body = this.#beginPlain(MESSAGE.bootstrap, 1, 1, 0);
    this.#view.setUint32(body, questionId, true);
    this.#end();
  }

  call(header: CallHeader, content: Content, descriptors: readonly CapDescriptor[]): void {
    const { target } = header;
    const sizeMax = descriptorsSize(descriptors) + (target.kind === "answer" ? target.path.length * WORD : 0);
    const body = this.#begin(MESSAGE.call, 3, 3, segmentsOf(content, descriptors), sizeMax);
    this.#view.setUint32(body, header.questionId, true);
    this.#view.setUint16(body + 4, header.methodId, true);
    this.#view.setUint16(body + 6, SEND_RESULTS_TO[header.sendResultsTo], true);
    this.#view.setBigUint64(body + 8, header.interfaceId, true);
    this.#target(body + 24, target);
    this.#payload(body + 32, content, descriptors);
    this.#end({ isCall: true });
  }

  returnResults(answerId: number, content: Content, descriptors: readonly CapDescriptor[]): void {
    const segments = segmentsOf(content, descriptors);
    const body = this.#begin(MESSAGE.return, 2, 1, segments, descriptorsSize(descriptors));
    this.#returnHead(body, answerId, RETURN.results);
    this.#payload(body + 16, content, descriptors);
    this.#end();
  }

  returnException(answerId: number, error: ClusterError): void {
    const { type, reason } = encodeException(error);
    const text = textEncoder.encode(reason);
    const body = this.#beginPlain(MESSAGE.return, 2, 1, text.byteLength);
    this.#returnHead(body, answerId, RETURN.exception);
    this.#exception(body + 16, type, text);
    this.#end();
  }

  returnWithout(answerId: number, which: typeof RETURN.canceled | typeof RETURN.resultsSentElsewhere): void {
    const body = this.#beginPlain(MESSAGE.return, 2, 1, 0);
    this.#returnHead(body, answerId, which);
    this.#end();
  }

  /** The results are those of another question, which `questionId` names, and are with the peer. */
  returnFrom(answerId: number, questionId: number): void {
    const body = this.#beginPlain(MESSAGE.return, 2, 1, 0);
    this.#returnHead(body, answerId, RETURN.takeFromOtherQuestion);
    this.#view.setUint32(body + 8, questionId, true);
    this.#end();
  }

  finish(questionId: number, releaseResultCaps: boolean): void {
    const body = this.#beginPlain(MESSAGE.finish, 1, 0, 0);
    this.#view.setUint32(body, questionId, true);
    // The field's default is true, so the bit says the contrary.
    if (!releaseResultCaps) this.#view.setUint8(body + 4, 1);
    this.#end();
  }

  resolve(promiseId: number, descriptor: CapDescriptor): void {
    const body = this.#beginPlain(MESSAGE.resolve, 1, 1, descriptorsSize([descriptor]));
    this.#view.setUint32(body, promiseId, true);
    const at = this.#allocate(2 * WORD);
    this.#structPointer(body + 8, at, 1, 1);
    this.#descriptor(at, descriptor);
    this.#end();
  }

  resolveException(promiseId: number, error: ClusterError): void {
    const { type, reason } = encodeException(error);
    const text = textEncoder.encode(reason);
    const body = this.#beginPlain(MESSAGE.resolve, 1, 1, text.byteLength);
    this.#view.setUint32(body, promiseId, true);
    this.#view.setUint16(body + 4, 1, true);
    this.#exception(body + 8, type, text);
    this.#end();
  }

  release(importId: number, referenceCount: number): void {
    const body = this.#beginPlain(MESSAGE.release, 1, 0, 0);
    this.#view.setUint32(body, importId, true);
    this.#view.setUint32(body + 4, referenceCount, true);
    this.#end();
  }

  disembargo(context: keyof typeof DISEMBARGO, embargoId: number, target: MessageTarget): void {
    const body = this.#beginPlain(MESSAGE.disembargo, 1, 1, target.kind === "answer" ? target.path.length * WORD : 0);
    this.#view.setUint32(body, embargoId, true);
    this.#view.setUint16(body + 4, DISEMBARGO[context], true);
    this.#target(body + 8, target);
    this.#end();
  }

  abort(error: ClusterError): void {
    const { type, reason } = encodeException(error);
    const text = textEncoder.encode(reason);
    const slot = this.#beginMessage(MESSAGE.abort, NO_SEGMENTS, text.byteLength);
    this.#exception(slot, type, text);
    this.#end();
  }

  /** Sends a message back that was not understood. */
  unimplemented(frame: Frame): void {
    const slot = this.#beginMessage(MESSAGE.unimplemented, frame.segments, 0);
    this.#contentPointer(slot, ROOT_SLOT);
    this.#end();
  }

  #returnHead(body: number, answerId: number, which: number): void {
    this.#view.setUint32(body, answerId, true);
    // releaseParamCaps = false, whose default is true: we release what we imported ourselves.
    this.#view.setUint8(body + 4, 1);
    this.#view.setUint16(body + 6, which, true);
  }

  #beginPlain(which: number, dataWords: number, pointers: number, extraBytes: number): number {
    return this.#begin(which, dataWords, pointers, NO_SEGMENTS, extraBytes);
  }

  /** Begins a message whose member is a struct; returns that struct's offset. */
  #begin(which: number, dataWords: number, pointers: number, segments: Segments, extraBytes: number): number {
    const slot = this.#beginMessage(which, segments, extraBytes);
    const body = this.#allocate((dataWords + pointers) * WORD);
    this.#structPointer(slot, body, dataWords, pointers);
    return body;
  }

  /** Begins a message around the segments of its content; returns the offset of the pointer to its member. */
  #beginMessage(which: number, segments: Segments, extraBytes: number): number {
    const segmentCount = Math.max(1, segments.length);
    const tableBytes = (4 + segmentCount * 4 + 7) & ~7;
    let bytesMax = tableBytes + WORD + HEADER_BYTES_MAX + extraBytes + WORD;
    for (const segment of segments) bytesMax += segment.byteLength;
    if (bytesMax > FRAME_BYTES_MAX) throw failed(`a message of ${bytesMax} bytes`, { code: "message-too-large" });
    const { view, bytes, offset } = this.#outbox.reserve(bytesMax);
    this.#view = view;
    this.#bytes = bytes;
    this.#segments = segments;
    this.#frameStart = offset;
    this.#contentStart = offset + tableBytes;
    view.setUint32(offset, segmentCount - 1, true);
    const first = segments[0];
    if (first) this.#copy(first, this.#contentStart);
    this.#at = this.#contentStart + Math.max(first?.byteLength ?? 0, WORD);
    const message = this.#allocate(2 * WORD);
    this.#structPointer(this.#contentStart, message, 1, 1);
    view.setUint16(message, which, true);
    return message + WORD;
  }

  #end({ isCall = false } = {}): void {
    const table = this.#frameStart + 4;
    this.#view.setUint32(table, (this.#at - this.#contentStart) / WORD, true);
    for (let i = 1; i < this.#segments.length; i++) {
      const segment = this.#segments[i];
      if (segment === undefined) continue;
      this.#view.setUint32(table + i * 4, segment.byteLength / WORD, true);
      this.#copy(segment, this.#at);
      this.#at += segment.byteLength;
    }
    this.#segments = NO_SEGMENTS;
    this.#outbox.commit(this.#at, { isCall });
  }

  #copy(segment: DataView, at: number): void {
    this.#bytes.set(new Uint8Array(segment.buffer, segment.byteOffset, segment.byteLength), at);
  }

  #allocate(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  #structPointer(slot: number, target: number, dataWords: number, pointers: number): void {
    this.#view.setInt32(slot, ((target - slot) / WORD - 1) << 2, true);
    this.#view.setUint32(slot + 4, dataWords | (pointers << 16), true);
  }

  #listPointer(slot: number, target: number, elementSize: number, count: number): void {
    this.#view.setInt32(slot, (((target - slot) / WORD - 1) << 2) | 1, true);
    this.#view.setUint32(slot + 4, elementSize | (count << 3), true);
  }

  #structList(slot: number, count: number, dataWords: number, pointers: number): number {
    const words = count * (dataWords + pointers);
    const tag = this.#allocate((1 + words) * WORD);
    this.#listPointer(slot, tag, 7, words);
    this.#view.setUint32(tag, count << 2, true);
    this.#view.setUint32(tag + 4, dataWords | (pointers << 16), true);
    return tag + WORD;
  }

  #target(slot: number, target: MessageTarget): void {
    const at = this.#allocate(2 * WORD);
    this.#structPointer(slot, at, 1, 1);
    if (target.kind === "import") {
      this.#view.setUint32(at, target.id, true);
    } else {
      this.#view.setUint16(at + 4, 1, true);
      this.#promisedAnswer(at + 8, target.questionId, target.path);
    }
  }

  #promisedAnswer(slot: number, questionId: number, path: readonly number[]): void {
    const at = this.#allocate(2 * WORD);
    this.#structPointer(slot, at, 1, 1);
    this.#view.setUint32(at, questionId, true);
    if (path.length === 0) return;
    let operation = this.#structList(at + 8, path.length, 1, 0);
    for (const pointerIndex of path) {
      this.#view.setUint16(operation, 1, true);
      this.#view.setUint16(operation + 2, pointerIndex, true);
      operation += WORD;
    }
  }

  #payload(slot: number, content: Content, descriptors: readonly CapDescriptor[]): void {
    const at = this.#allocate(2 * WORD);
    this.#structPointer(slot, at, 0, 2);
    if (this.#segments.length > 0) this.#contentPointer(at, content.slot);
    if (descriptors.length === 0) return;
    let element = this.#structList(at + 8, descriptors.length, 1, 1);
    for (const descriptor of descriptors) {
      this.#descriptor(element, descriptor);
      element += 2 * WORD;
    }
  }

  /** Makes the pointer at `slot` lead where the content's own pointer leads. */
  #contentPointer(slot: number, source: Slot): void {
    const segment = this.#segments[source.segment];
    if (segment === undefined) return;
    const low = segment.getUint32(source.offset, true);
    const high = segment.getUint32(source.offset + 4, true);
    const isObject = (low & 2) === 0 && !(low === 0 && high === 0);
    if (!isObject) {
      // Null, a capability, or far: right wherever it stands.
      this.#view.setUint32(slot, low, true);
      this.#view.setUint32(slot + 4, high, true);
    } else if (source.segment === 0) {
      const target = this.#contentStart + source.offset + WORD + (low >> 2) * WORD;
      this.#view.setInt32(slot, (((target - slot) / WORD - 1) << 2) | (low & 3), true);
      this.#view.setUint32(slot + 4, high, true);
    } else {
      this.#view.setUint32(slot, source.offset | 2, true);
      this.#view.setUint32(slot + 4, source.segment, true);
    }
  }

  #descriptor(at: number, descriptor: CapDescriptor): void {
    switch (descriptor.kind) {
      case "none":
        return;
      case "receiverAnswer":
        this.#view.setUint16(at, 4, true);
        this.#promisedAnswer(at + WORD, descriptor.questionId, descriptor.path);
        return;
      case "senderHosted":
      case "senderPromise":
      case "receiverHosted":
        this.#view.setUint16(at, DESCRIPTOR[descriptor.kind], true);
        this.#view.setUint32(at + 4, descriptor.id, true);
    }
  }

  #exception(slot: number, type: number, text: Uint8Array): void {
    const at = this.#allocate(3 * WORD);
    this.#structPointer(slot, at, 1, 2);
    this.#view.setUint16(at + 4, type, true);
    const start = this.#allocate((text.byteLength + 1 + 7) & ~7);
    this.#listPointer(at + 8, start, 2, text.byteLength + 1);
    this.#bytes.set(text, start);
  }
}

const DESCRIPTOR = { senderHosted: 1, senderPromise: 2, receiverHosted: 3 } as const;

/** Bytes that the list of descriptors takes, at most. */
function descriptorsSize(descriptors: readonly CapDescriptor[]): number {
  let size = descriptors.length === 0 ? 0 : WORD;
  for (const descriptor of descriptors) {
    size += 2 * WORD;
    if (descriptor.kind === "receiverAnswer") size += (3 + descriptor.path.length) * WORD;
  }
  return size;
}

/** Content that is null needs no segments to travel. */
function segmentsOf(content: Content, descriptors: readonly CapDescriptor[]): Segments {
  const { segments, slot } = content;
  const view = segments[slot.segment];
  const isNull =
    view === undefined || (view.getUint32(slot.offset, true) === 0 && view.getUint32(slot.offset + 4, true) === 0);
  return isNull && descriptors.length === 0 ? NO_SEGMENTS : segments;
}
