/** The parts of RPC messages that both their reader and their writer speak of, as values. Numbers are the protocol's. */

/** Discriminants of `Message`. */
export const MESSAGE = {
  unimplemented: 0,
  abort: 1,
  call: 2,
  return: 3,
  finish: 4,
  resolve: 5,
  release: 6,
  bootstrap: 8,
  provide: 10,
  accept: 11,
  join: 12,
  disembargo: 13,
} as const;

/** Discriminants of `Return`. */
export const RETURN = {
  results: 0,
  exception: 1,
  canceled: 2,
  resultsSentElsewhere: 3,
  takeFromOtherQuestion: 4,
} as const;

/** Discriminants of `Disembargo.context`. */
export const DISEMBARGO = { senderLoopback: 0, receiverLoopback: 1 } as const;

/** Discriminants of `Call.sendResultsTo`. */
export const SEND_RESULTS_TO = { caller: 0, yourself: 1 } as const;

/** What a call or a disembargo is addressed to, from the point of view of the sender. */
export type MessageTarget =
  | { readonly kind: "import"; readonly id: number }
  | { readonly kind: "answer"; readonly questionId: number; readonly path: readonly number[] };

/** How a capability travels, from the point of view of the sender. */
export type CapDescriptor =
  | { readonly kind: "none" }
  | { readonly kind: "senderHosted" | "senderPromise" | "receiverHosted"; readonly id: number }
  | { readonly kind: "receiverAnswer"; readonly questionId: number; readonly path: readonly number[] };
