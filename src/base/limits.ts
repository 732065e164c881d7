/**
 * Every limit of the system, in one place. Passing one is back-pressure or a refusal, never memory.
 * Units are in the names: bytes, milliseconds, or a count.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

// Rpc.
/** Segments of one message. The format allows 2^32; a header that claims more is hostile. */
export const FRAME_SEGMENTS_MAX = 512;
/** Bytes of one message, header included. */
export const FRAME_BYTES_MAX = 16 * MIB;
/** Calls a peer may have unanswered on one connection; reading stops there until one is answered. */
export const ANSWERS_MAX = 16_384;
/** Calls we may have unanswered on one connection. */
export const QUESTIONS_MAX = 16_384;
/** Capabilities we may export to, or import from, one peer. */
export const EXPORTS_MAX = 65_536;
export const IMPORTS_MAX = 65_536;
/** Bytes sent and not yet taken by the transport, above which sending calls wait. */
export const SEND_BUFFER_BYTES_MAX = 4 * MIB;
/** Bytes of parameters of calls that have come in and are not answered; reading stops above it. */
export const CALL_BYTES_IN_FLIGHT_MAX = 32 * MIB;
/** Bulk data in one call: modules, output. */
export const CHUNK_BYTES_MAX = 1 * MIB;
/** Length of an exception's reason on the wire; longer ones are cut. */
export const EXCEPTION_REASON_LENGTH_MAX = 4 * KIB;

// Channel.
/** Senders, or receivers, that wait on one channel. */
export const CHANNEL_WAITERS_MAX = 65_536;

// Admission and membership.
/** A connection that has not logged in by then is closed. Pending peers keep theirs. */
export const LOGIN_TIMEOUT_MS = 10_000;
/** Connections that are not logged in, pending ones included. */
export const STRANGERS_MAX = 256;
export const HEARTBEAT_EVERY_MS = 2_500;
export const HEARTBEAT_TTL_MS = 10_000;
export const HEARTBEAT_BYTES_MAX = 8 * KIB;
export const MEMBERS_MAX = 1_024;
/** Longest and first wait between two tries to reach a gateway. */
export const REDIAL_FIRST_MS = 100;
export const REDIAL_MAX_MS = 2_000;
/** How often a pending worker asks again. */
export const PENDING_RETRY_MS = 1_000;

// Leases.
export const LEASE_MS = 15_000;
export const LEASE_RENEW_EVERY_MS = 5_000;
/** How long a worker whose connection closed may take to come back before its attempts are lost. */
export const AWAY_GRACE_MS = 3_000;
/** Attempts of one run that each took a worker or runner down; then the run has failed, `poisoned`. */
export const LOST_ATTEMPTS_MAX = 5;

// Tasks.
export const MODULE_BYTES_MAX = 64 * MIB;
/** One request's body in all, the module included. */
export const REQUEST_BYTES_MAX = 80 * MIB;
/** What is read of a body that is refused, so that the answer reaches a client that reads only after writing. */
export const REFUSED_BODY_BYTES_MAX = 256 * MIB;
export const REFUSED_BODY_MS_MAX = 20_000;
/** One text field of a submission. */
export const FIELD_BYTES_MAX = 1 * MIB;
export const FIELDS_MAX = 4_096;
export const STDIN_BYTES_MAX = 8 * MIB;
export const ARGS_MAX = 1_024;
export const ENV_MAX = 1_024;
export const DESCRIPTION_LENGTH_MAX = 4_096;
/** Args, env and stdin of one task together: they travel in one message. */
export const SPEC_BYTES_MAX = 9 * MIB;
export const OUTPUT_BYTES_DEFAULT = 1 * MIB;
export const OUTPUT_BYTES_MAX = 256 * MIB;
export const MEMORY_MIB_DEFAULT = 256;
export const MEMORY_MIB_MAX = 4_096;
export const TIMEOUT_MS_DEFAULT = 300_000;
export const DURATION_MS_MAX = 366 * 24 * 3_600_000;
export const REPEATS_MAX = 1_000_000_000;
/** Runs of one task that are due and not settled, made as rows; the next come as these settle. */
export const OPEN_RUNS_PER_TASK_MAX = 256;
/** Unfinished tasks; past it a submission is told to come back. */
export const QUEUED_TASKS_MAX = 1_000_000;
/** stdout, and stderr, as shown inside a result; the whole is in the log. */
export const RESULT_TEXT_BYTES_MAX = 64 * KIB;
export const LIST_LIMIT_DEFAULT = 100;
export const LIST_LIMIT_MAX = 1_000;
export const OUTPUT_CHUNK_BYTES_MAX = 256 * KIB;

// Worker.
export const SLOTS_MAX = 1_024;
/** Bytes of output of one attempt that a worker holds and the gateway has not acknowledged, in memory. */
export const OUTPUT_IN_MEMORY_BYTES_MAX = 1 * MIB;
export const MODULE_CACHE_BYTES_MAX = 2_048 * MIB;
/** Runs on one runner process, after which it is replaced. */
export const RUNS_PER_RUNNER_MAX = 1_000;
export const RUNNER_START_MS_MAX = 30_000;
export const WASM_TABLE_ENTRIES_MAX = 100_000;
export const GUEST_FILES_BYTES_MAX = 64 * MIB;
export const GUEST_FILES_MAX = 10_000;
export const GUEST_FDS_MAX = 1_024;

// Http.
export const SSE_PING_EVERY_MS = 15_000;
/** Bytes waiting for a slow reader of a live stream, above which it is cut off and may resume. */
export const SSE_BUFFER_BYTES_MAX = 1 * MIB;
export const SSE_CONNECTIONS_MAX = 4_096;

// Process.
export const GRACE_MS_DEFAULT = 30_000;
