/**
 * Spans: what was done, from when to when, and as part of what. They are handed in, as time is: whoever composes a process
 * decides whether and where they go. Context travels as text (W3C Trace Context), in headers, specs and messages, and is
 * passed on by hand; nothing here knows what "the current span" is.
 */
import { messageOf } from "./errors.ts";

export type SpanKind = "internal" | "server" | "client";
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanOptions {
  /** Default: internal. */
  readonly kind?: SpanKind | undefined;
  /** The traceparent of what this is a part of. Default: it begins a trace. */
  readonly parent?: string | undefined;
  /** The traceparent of what this came of, without being a part of it. */
  readonly link?: string | undefined;
  readonly attributes?: SpanAttributes | undefined;
}

/** Whoever starts one ends it. Methods never throw. */
export interface Span {
  /** For whoever does a part of it, here or elsewhere. Undefined: there is no trace. */
  readonly traceparent: string | undefined;
  set(attributes: SpanAttributes): void;
  /** What it stands for went wrong. */
  fail(reason: string): void;
  /** Idempotent. */
  end(): void;
}

export interface Tracer {
  start(name: string, options?: SpanOptions): Span;
}

/** Ends the span with the work, which it says went wrong where that rejects. */
export async function within<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    span.fail(messageOf(error));
    throw error;
  } finally {
    span.end();
  }
}

/** Keeps nothing, and passes on what it was given: others on the way may trace. */
export const NO_TRACER: Tracer = {
  start: (_name, { parent } = {}) => ({ traceparent: parent, set: () => {}, fail: () => {}, end: () => {} }),
};

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Undefined: the text is no trace context, and is to be ignored. */
export function parseTraceparent(text: string | undefined): string | undefined {
  return text !== undefined && TRACEPARENT.test(text) ? text : undefined;
}
