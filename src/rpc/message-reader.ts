/**
 * Reads received RPC messages. Every function takes bytes of a peer and throws a ClusterError with code
 * `malformed-message` when they are not what the protocol allows; nothing else comes of hostile bytes here.
 */
import type { ClusterError } from "../base/errors.ts";
import { EXCEPTION_REASON_LENGTH_MAX, MESSAGE_CAPABILITIES_MAX, PIPELINE_DEPTH_MAX } from "../base/limits.ts";
import { decodeException } from "./exception.ts";
import type { Frame } from "./framing.ts";
import type { CapDescriptor, MessageTarget } from "./message.ts";
import { malformed, type Slot, StructReader } from "./wire-pointer.ts";

export interface ReceivedMessage {
  /** A discriminant of `Message`, perhaps one that is not known. */
  readonly which: number;
  readonly body: StructReader;
}

export function readMessage(frame: Frame): ReceivedMessage {
  const root = StructReader.at(frame.segments, { segment: 0, offset: 0 });
  return { which: root.uint16(0), body: root.struct(0) };
}

export interface ReceivedCall {
  readonly questionId: number;
  readonly target: MessageTarget;
  readonly interfaceId: bigint;
  readonly methodId: number;
  readonly params: ReceivedPayload;
  /** A discriminant of `Call.sendResultsTo`. */
  readonly sendResultsTo: number;
}

export function readCall(body: StructReader): ReceivedCall {
  return {
    questionId: body.uint32(0),
    target: readTarget(body.struct(0)),
    interfaceId: body.uint64(8),
    methodId: body.uint16(4),
    params: readPayload(body.struct(1)),
    sendResultsTo: body.uint16(6),
  };
}

export interface ReceivedReturn {
  readonly answerId: number;
  /** True unless said otherwise: the field's default. */
  readonly releaseParamCaps: boolean;
  /** A discriminant of `Return`. */
  readonly which: number;
}

export function readReturn(body: StructReader): ReceivedReturn {
  return { answerId: body.uint32(0), releaseParamCaps: !body.bit(32), which: body.uint16(6) };
}

export function readFinish(body: StructReader): { questionId: number; releaseResultCaps: boolean } {
  return { questionId: body.uint32(0), releaseResultCaps: !body.bit(32) };
}

/** Content and capabilities as sent. Without a slot the content is null. */
export interface ReceivedPayload {
  readonly slot: Slot | undefined;
  readonly descriptors: readonly CapDescriptor[];
}

export function readPayload(payload: StructReader): ReceivedPayload {
  const descriptors = payload.structList(1, MESSAGE_CAPABILITIES_MAX).map(readDescriptor);
  return { slot: payload.isNull(0) ? undefined : payload.slot(0), descriptors };
}

export function readDescriptor(descriptor: StructReader): CapDescriptor {
  const which = descriptor.uint16(0);
  switch (which) {
    case 0:
      return { kind: "none" };
    case 1:
      return { kind: "senderHosted", id: descriptor.uint32(4) };
    case 2:
      return { kind: "senderPromise", id: descriptor.uint32(4) };
    case 3:
      return { kind: "receiverHosted", id: descriptor.uint32(4) };
    case 4:
      return { kind: "receiverAnswer", ...readPromisedAnswer(descriptor.struct(0)) };
    case 5:
      // Hosted by a third party: below level 3 its stand-in at the sender, the vine, is used.
      return { kind: "senderHosted", id: descriptor.struct(0).uint32(0) };
    default:
      throw malformed(`capability descriptor ${which}`);
  }
}

export function readTarget(target: StructReader): MessageTarget {
  const which = target.uint16(4);
  if (which === 0) return { kind: "import", id: target.uint32(0) };
  if (which === 1) return { kind: "answer", ...readPromisedAnswer(target.struct(0)) };
  throw malformed(`message target ${which}`);
}

function readPromisedAnswer(promised: StructReader): { questionId: number; path: readonly number[] } {
  const path: number[] = [];
  for (const operation of promised.structList(0, PIPELINE_DEPTH_MAX)) {
    const which = operation.uint16(0);
    if (which === 1) path.push(operation.uint16(2));
    else if (which !== 0) throw malformed(`transform ${which}`);
  }
  return { questionId: promised.uint32(0), path };
}

export function readException(exception: StructReader): ClusterError {
  return decodeException({ type: exception.uint16(4), reason: exception.text(0, EXCEPTION_REASON_LENGTH_MAX * 4) });
}
