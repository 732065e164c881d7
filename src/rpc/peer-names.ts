/** What the names in a peer's messages stand for: targets of calls, and capabilities that travel in them. */
import type { Answers } from "./answers.ts";
import { Content } from "./content.ts";
import type { Exports } from "./exports.ts";
import type { Frame } from "./framing.ts";
import { BrokenHook, type Hook, Payload } from "./hook.ts";
import type { Imports } from "./imports.ts";
import type { CapDescriptor, MessageTarget } from "./message.ts";
import type { ReceivedPayload } from "./message-reader.ts";
import { malformed } from "./wire-pointer.ts";

/** What is called, as a reference of the caller's own, and how deep it is in unanswered calls. */
export interface Target {
  readonly hook: Hook;
  readonly depth: number;
}

export class PeerNames {
  readonly #exports: Exports;
  readonly #imports: Imports;
  readonly #answers: Answers;

  constructor(exports: Exports, imports: Imports, answers: Answers) {
    this.#exports = exports;
    this.#imports = imports;
    this.#answers = answers;
  }

  /** What a message is addressed to. Throws a `malformed-message` when there is no such thing. */
  target(target: MessageTarget): Target {
    if (target.kind === "answer") return this.#answers.pipeline(target.questionId, target.path);
    const hook = this.#exports.find(target.id);
    if (hook === undefined) throw malformed(`a message to what is not exported: ${target.id}`);
    return { hook: hook.retain(), depth: 0 };
  }

  /** As `target`; when that throws the call is void, and its parameters are given up. */
  callTarget(target: MessageTarget, params: Payload): Target {
    try {
      return this.target(target);
    } catch (error) {
      params.dispose();
      throw error;
    }
  }

  payload(frame: Frame, { slot, descriptors }: ReceivedPayload): Payload {
    const payload = new Payload(slot ? Content.received(frame.segments, slot) : Content.empty(), []);
    try {
      for (const descriptor of descriptors) payload.add(this.receive(descriptor));
    } catch (error) {
      payload.dispose();
      throw error;
    }
    return payload;
  }

  /** The capability that a descriptor stands for, as a reference of the caller's own. */
  receive(descriptor: CapDescriptor): Hook | null {
    switch (descriptor.kind) {
      case "none":
        return null;
      case "senderHosted":
      case "senderPromise":
        return this.#imports.receive(descriptor.id, descriptor.kind === "senderPromise");
      case "receiverHosted":
        return (
          this.#exports.find(descriptor.id)?.retain() ?? new BrokenHook(malformed(`no such export: ${descriptor.id}`))
        );
      case "receiverAnswer":
        return this.#answers.pipeline(descriptor.questionId, descriptor.path).hook;
    }
  }
}
