/**
 * What others are told of the store's trouble: workers, that waiting helps; whoever asks over the network, what is wrong in
 * general. Where the files are, and what to do, is for the log.
 */
import { type ClusterError, overloaded, toClusterError } from "../base/errors.ts";
import { StoreFailure, type TroubleKind } from "../store/trouble.ts";

/**
 * What a worker is told when the store fails. For the gateway's user a full disk is `failed`: somebody has to see to it.
 * A worker loses nothing by waiting until that is done, and would end its guests over an error that says that trying
 * again will not do.
 */
export function storeTrouble(thrown: unknown): ClusterError {
  const error = toClusterError(thrown);
  if (error.type !== "failed") return error;
  const why = error instanceof StoreFailure ? `: ${troubleSentence(error.trouble)}` : "";
  return overloaded(`the gateway's store is out of order${why}; try again later`, { code: error.code, cause: error });
}

/** What a submission is told while the store takes nothing new. */
export function troubled(sentence: string): ClusterError {
  return overloaded(`the store takes nothing new now: ${sentence}; try again later`, { code: "store-unavailable" });
}

/** Why nothing new is taken, to go behind a colon. */
export function troubleSentence(kind: TroubleKind): string {
  switch (kind) {
    case "disk-full":
      return "its disk is full";
    case "disk-nearly-full":
      return "its disk is nearly full, and what is left is kept for tasks that were accepted";
    case "not-writable":
      return "its files cannot be written";
    case "io-error":
      return "reading or writing its files fails";
    case "busy":
      return "another process keeps its database locked, or it has too much to do";
    case "moved":
      return "its database is not where it was; the gateway's log says what to do";
    case "damaged":
      return "its database is damaged; the gateway's log says what to do";
    case "stopped":
      return "it has stopped; the gateway has to be started again";
  }
}
