/** How the program ends: its exit codes, which are part of the contract with users, and what it says on stderr. */
import { CommanderError } from "commander";
import { ClusterError, messageOf } from "../base/errors.ts";
import { ApiError } from "../client/api-error.ts";

export const EXIT = {
  ok: 0,
  taskFailed: 1,
  usage: 2,
  notFound: 3,
  notAllowed: 4,
  unreachable: 5,
  timedOut: 6,
  conflict: 7,
  interrupted: 130,
} as const;

/** A mistake on the command line; the message names the flag or argument and the fix. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

export class WaitTimedOutError extends Error {
  override readonly name = "WaitTimedOutError";
}

export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (thrown instanceof UsageError) return EXIT.usage;
  if (thrown instanceof InterruptedError) return EXIT.interrupted;
  if (thrown instanceof WaitTimedOutError) return EXIT.timedOut;
  if (thrown instanceof ApiError) return exitCodeOfStatus(thrown.status);
  if (thrown instanceof ClusterError) {
    if (thrown.code === "unreachable") return EXIT.unreachable;
    if (thrown.code === "usage" || thrown.code === "invalid-url") return EXIT.usage;
  }
  return EXIT.taskFailed;
}

function exitCodeOfStatus(status: number): number {
  switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
      return EXIT.usage;
    case 401:
    case 403:
      return EXIT.notAllowed;
    case 404:
      return EXIT.notFound;
    case 409:
      return EXIT.conflict;
    // It is there, and cannot serve us now.
    case 429:
    case 503:
      return EXIT.unreachable;
    default:
      return EXIT.taskFailed;
  }
}

/** What to say on stderr; empty when it has been said already. */
export function describeError(thrown: unknown): string {
  if (thrown instanceof CommanderError) return "";
  if (thrown instanceof ApiError) return describeRefusal(thrown);
  if (thrown instanceof ClusterError && thrown.code === "unreachable") {
    return `${thrown.message}\nstart one with \`capmesh up\`, or name another with --url or CAPMESH_URL`;
  }
  return messageOf(thrown);
}

function describeRefusal(error: ApiError): string {
  if (error.errors.length > 0) {
    return error.errors.map(({ field, message }) => `${flagOfField(field)}: ${message}`).join("\n");
  }
  if (error.status === 401)
    return `${error.message}\non the gateway's machine: export CAPMESH_TOKEN=$(cat ~/.local/share/capmesh/gateway/admin-token), or the file that it named when it started`;
  // What the API points to is there on the command line too.
  return error.message.replace(/see GET \/(task|worker|token|module)s\./, "`capmesh $1 ls` lists what there is.");
}

/** Fields that are not called after their flags. */
const NAMES_HERE: Readonly<Record<string, string>> = {
  wasm: "<file.wasm>",
  args: "arguments after --",
  files: "--file",
  outputs: "--output",
  grace: "--within",
  "limits.submitsPerSecond": "--rate",
  "limits.queuedTasks": "--queued",
  "limits.bytesPerHour": "--bytes",
};

/** `outputMax` is `--output-max` here. */
function flagOfField(field: string): string {
  if (Object.hasOwn(NAMES_HERE, field)) return NAMES_HERE[field] ?? field;
  return `--${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
