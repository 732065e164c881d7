/**
 * The content of a call or an answer: the user's struct, as segments of bytes. It is either being built here, or came
 * in and is read, or came in and only passes through. capnp-es works on the first two; what passes through is never
 * parsed nor copied by it, which also keeps hostile messages from growing on their way.
 *
 * A built content has one segment: word 0 is left free for the root pointer of the RPC message it will travel in, word 1
 * is the pointer to the struct. The RPC header is appended when it is sent.
 *
 * Invariant: capnp-es grows a message even when it reads (a null field becomes an allocated default). All growth goes
 * through `ContentMessage.allocateSegment`, which is bounded.
 */
import { Message, type Struct, type StructCtor, utils } from "capnp-es";
import { assert, failed } from "../base/errors.ts";
import { FRAME_BYTES_MAX } from "../base/limits.ts";
import { checkContent } from "./content-check.ts";
import { SEGMENT_SLACK_BYTES } from "./framing.ts";
import "./list-guard.ts";
import { followPointer, type Segments, type Slot, StructReader } from "./wire-pointer.ts";

/** Room in a new content's segment beyond its root struct. */
const BUILD_SLACK_BYTES = 96;
const BUILT_SLOT: Slot = { segment: 0, offset: 8 };
const BUILT_HEAD_BYTES = 16;
/** A frame must also hold the header, so a content is refused while it is built, wherever it would have gone. */
const BUILT_BYTES_MAX = FRAME_BYTES_MAX - 64 * 1024;
/** What the defaults of a received message may take, beyond as much as the message itself. */
const DEFAULTS_BYTES_MAX = 1024 * 1024;

export class Content {
  /** What came in, until it is read. */
  #received: Segments | undefined;
  #message: ContentMessage | undefined;
  readonly #slot: Slot;

  private constructor(received: Segments | undefined, slot: Slot) {
    this.#received = received;
    this.#slot = slot;
  }

  /** Content that came in: the segments of its whole message, and the place of the pointer to it. */
  static received(segments: Segments, slot: Slot): Content {
    return new Content(segments, slot);
  }

  /** Null content. */
  static empty(): Content {
    return new Content([new DataView(new ArrayBuffer(BUILT_HEAD_BYTES))], BUILT_SLOT);
  }

  /** Content that is nothing but the first capability of its payload: what a bootstrap question is answered with. */
  static capability(): Content {
    const view = new DataView(new ArrayBuffer(BUILT_HEAD_BYTES));
    view.setUint32(BUILT_SLOT.offset, 3, true);
    return new Content([view], BUILT_SLOT);
  }

  /** Content being built. `owner` is found again by `ownerOf`, from any struct in it. */
  static build<T extends Struct>(type: StructCtor<T>, owner: object): { content: Content; root: T } {
    const content = new Content(undefined, BUILT_SLOT);
    const { dataByteLength, pointerLength } = type._capnp.size;
    const structBytes = dataByteLength + pointerLength * 8;
    const buffer = new ArrayBuffer(BUILT_HEAD_BYTES + structBytes + (structBytes === 0 ? 0 : BUILD_SLACK_BYTES));
    const message = new ContentMessage([buffer], owner, BUILT_BYTES_MAX);
    content.#message = message;
    const segment = message.getSegment(0);
    segment.byteLength = BUILT_HEAD_BYTES;
    const root = new type(segment, BUILT_SLOT.offset);
    utils.initStruct(type._capnp.size, root);
    return { content, root };
  }

  /** Where the pointer to the content is. */
  get slot(): Slot {
    return this.#slot;
  }

  /** The bytes as they are now. */
  get segments(): Segments {
    if (this.#received !== undefined) return this.#received;
    assert(this.#message !== undefined, "content is received or built");
    return this.#message._capnp.segments.map((segment) => new DataView(segment.buffer, 0, segment.byteLength));
  }

  get bytes(): number {
    return this.segments.reduce((sum, segment) => sum + segment.byteLength, 0);
  }

  /** Which capability is at a path of pointer indexes; undefined where there is none. Throws where the bytes are bad. */
  capabilityIndex(path: readonly number[]): number | undefined {
    const { segments } = this;
    let slot = this.#slot;
    for (const pointerIndex of path) {
      const next = StructReader.at(segments, slot).slot(pointerIndex);
      if (next === undefined) return undefined;
      slot = next;
    }
    const target = followPointer(segments, slot);
    return target.kind === "capability" ? target.index : undefined;
  }

  /**
   * The content as a struct. What came in is checked on the first use, which capnp-es does not do, and copied, if need be,
   * to the buffers of its own that it wants. Throws a `malformed-message`.
   */
  root<T extends Struct>(type: StructCtor<T>, owner: object): T {
    if (this.#message === undefined) {
      checkContent(this.segments, this.#slot);
      const buffers = this.segments.map(withSlack);
      const bytesMax = (this.segments.at(-1)?.byteLength ?? 0) * 2 + DEFAULTS_BYTES_MAX;
      const message = new ContentMessage(buffers, owner, bytesMax);
      this.segments.forEach((view, index) => (message.getSegment(index).byteLength = view.byteLength));
      this.#message = message;
      this.#received = undefined;
    }
    return readStruct(this.#message, this.#slot, type);
  }
}

/** The segment in a buffer of its own with room behind it, as a large one came already. */
function withSlack(view: DataView): ArrayBuffer {
  const bufferBytes = view.byteLength + SEGMENT_SLACK_BYTES;
  if (view.byteOffset === 0 && view.buffer.byteLength === bufferBytes && view.buffer instanceof ArrayBuffer) {
    return view.buffer;
  }
  const buffer = new ArrayBuffer(bufferBytes);
  new Uint8Array(buffer).set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  return buffer;
}

/** As capnp-es reads a struct field: a null one becomes a default, one of an older sender is made larger. */
function readStruct<T extends Struct>(message: ContentMessage, slot: Slot, type: StructCtor<T>): T {
  const root = new type(message.getSegment(slot.segment), slot.offset);
  const { size } = type._capnp;
  if (utils.isNull(root)) {
    utils.initStruct(size, root);
    return root;
  }
  utils.validate(POINTER_STRUCT, root);
  const actual = utils.getTargetStructSize(root);
  if (actual.dataByteLength < size.dataByteLength || actual.pointerLength < size.pointerLength)
    utils.resize(size, root);
  return root;
}

/** capnp-es's `PointerType.STRUCT`. */
const POINTER_STRUCT = 0;

/** Who a message that a struct is in belongs to; undefined for a message that was not made here. */
export function ownerOf(struct: Struct): object | undefined {
  const { message } = struct.segment;
  return message instanceof ContentMessage ? message.owner : undefined;
}

class ContentMessage extends Message {
  readonly owner: object;
  /** How large the last segment may become. */
  readonly #bytesMax: number;

  constructor(buffers: ArrayBuffer[], owner: object, bytesMax: number) {
    super(decodeArena(buffers));
    this.#bytesMax = bytesMax;
    this.owner = owner;
  }

  /** More room is always made at the end of the last segment: it is replaced by a larger copy of itself. */
  override allocateSegment(byteLength: number): ReturnType<Message["allocateSegment"]> {
    const { segments } = this._capnp;
    const last = segments.at(-1);
    assert(last !== undefined, "a content has a segment");
    if (last.hasCapacity(byteLength)) return last;
    const needed = last.byteLength + byteLength;
    if (needed > this.#bytesMax) throw failed("the message is too large", { code: "message-too-large" });
    const grown = new ArrayBuffer(Math.min(Math.max(needed + 64, last.byteLength * 2), this.#bytesMax));
    new Uint8Array(grown).set(new Uint8Array(last.buffer, 0, last.byteLength));
    last.replaceBuffer(grown);
    return last;
  }

  /** The generated setters of interface fields end here. Theirs would be read back as capability 0 when null. */
  override addCap(): never {
    throw new Error("assertion failed: use setCapability to put a capability into a message");
  }
}

/** The shape of capnp-es's arena of many segments, whose class it does not export. */
function decodeArena(buffers: ArrayBuffer[]): ConstructorParameters<typeof Message>[0] {
  return { kind: 1, buffers };
}
