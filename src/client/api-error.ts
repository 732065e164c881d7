/** A refusal of the gateway, as it was answered. */
import type { FieldError } from "../api/problem.ts";
import { ClusterError, type ErrorType } from "../base/errors.ts";

export interface ApiErrorInit {
  readonly status: number;
  /** Stable; `http-<status>` where the answer was no problem document. */
  readonly code: string;
  /** The sentence to show. */
  readonly message: string;
  readonly errors?: readonly FieldError[] | undefined;
  readonly requestId?: string | undefined;
}

/** `code` is the problem's code, `type` says whether to try again: `overloaded` for 429 and 503, else `failed`. */
export class ApiError extends ClusterError {
  readonly status: number;
  /** What is wrong with which field. Empty where the refusal is of another kind. */
  readonly errors: readonly FieldError[];
  readonly requestId: string | undefined;

  constructor(init: ApiErrorInit) {
    super(typeOf(init.status), init.message, { code: init.code });
    this.status = init.status;
    this.errors = init.errors ?? [];
    this.requestId = init.requestId;
  }
}

function typeOf(status: number): ErrorType {
  return status === 429 || status === 503 ? "overloaded" : "failed";
}
