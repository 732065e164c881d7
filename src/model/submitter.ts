/**
 * Who submitted a task: a short text that says by which credential, and no more. Tasks of different submitters share no
 * runner process.
 *
 *     local          over HTTP, without a token: whoever is on the gateway's machine
 *     token:<name>   with this token, over HTTP or RPC
 *     rpc:<name>     over plain RPC without a token: the client as it calls itself
 */

/** Over HTTP without a token, and of tasks from before submitters were kept. */
export const LOCAL_SUBMITTER = "local";

/** Of the gateway's one admin token. */
export const ADMIN_TOKEN_SUBMITTER = tokenSubmitter("admin");

export function tokenSubmitter(name: string): string {
  return `token:${name}`;
}

/** The token's name; undefined: the submitter is none. */
export function parseTokenSubmitter(submitter: string): string | undefined {
  return submitter.startsWith("token:") ? submitter.slice("token:".length) : undefined;
}
