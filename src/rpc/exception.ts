/**
 * The border between ClusterErrors and the protocol's exceptions. The type travels as it is; the code, which the protocol
 * has no field for, travels at the end of the reason in square brackets, where people read it too. Stacks and causes
 * stay where they are.
 */
import { ClusterError, type ErrorType } from "../base/errors.ts";
import { EXCEPTION_REASON_LENGTH_MAX } from "../base/limits.ts";

/** The protocol's `Exception.Type`, by number. */
const TYPES: readonly ErrorType[] = ["failed", "overloaded", "disconnected", "unimplemented"];
const CODE = / \[([a-z][a-z0-9-]{0,63})\]$/;

export interface WireException {
  readonly type: number;
  readonly reason: string;
}

export function encodeException(error: ClusterError): WireException {
  const suffix = error.code === error.type ? "" : ` [${error.code}]`;
  return {
    type: TYPES.indexOf(error.type),
    reason: error.message.slice(0, EXCEPTION_REASON_LENGTH_MAX - suffix.length).toWellFormed() + suffix,
  };
}

/** An unknown type, of a newer peer, is `failed`, as the protocol says. */
export function decodeException({ type, reason }: WireException): ClusterError {
  const code = CODE.exec(reason)?.[1];
  const message = code === undefined ? reason : reason.slice(0, -code.length - 3);
  return new ClusterError(TYPES[type] ?? "failed", message, code === undefined ? {} : { code });
}
