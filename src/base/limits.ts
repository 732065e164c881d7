/**
 * Every limit of the system, in one place, which is why it is long. Passing one is back-pressure or a refusal, never memory.
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
/** Bytes of answers that the transport has not taken, above which no more calls are read. */
export const SEND_BUFFER_BYTES_MAX = 4 * MIB;
/** Bytes of parameters of calls that have come in and are not answered; reading stops above it. */
export const CALL_BYTES_IN_FLIGHT_MAX = 32 * MIB;
/** Bulk data in one call: modules, output. */
export const CHUNK_BYTES_MAX = 1 * MIB;
/** Bytes queued for a peer that does not read, above which calls to it fail as overloaded. */
export const SEND_QUEUE_BYTES_MAX = 64 * MIB;
/** How long a message may take to come, from its first byte to its last; up to twice as long behind others. */
export const FRAME_MS_MAX = 60_000;
/** How long reading may stop. After that it goes on, and calls beyond the limits fail as overloaded. */
export const READ_STALL_MS_MAX = 1_000;
/** Answers that the peer has been given and has not finished, and the bytes of those kept for pipelining. */
export const ANSWERS_UNFINISHED_MAX = 4 * ANSWERS_MAX;
/** The same for a peer that has not logged in: it takes three questions to do so. */
export const STRANGER_ANSWERS_UNFINISHED_MAX = 64;
export const RESULT_BYTES_KEPT_MAX = 64 * MIB;
/** Capabilities in one message. */
export const MESSAGE_CAPABILITIES_MAX = 4_096;
/** Structs and lists within each other in one message. */
export const CONTENT_NESTING_MAX = 64;
/** Length of a path from an answer to a capability in it. */
export const PIPELINE_DEPTH_MAX = 64;
/** Calls of one peer that each wait on the one before through pipelining. */
export const PIPELINE_CHAIN_MAX = 256;
/** How long a connection that ends waits for its last words to be sent. */
export const CLOSE_FLUSH_MS_MAX = 1_000;
/** Length of an exception's reason on the wire; longer ones are cut. */
export const EXCEPTION_REASON_LENGTH_MAX = 4 * KIB;

// Channel.
/** Senders, or receivers, that wait on one channel. */
export const CHANNEL_WAITERS_MAX = 65_536;
/** Offers of one peer that wait. Twice the slots of a worker that is back before its old connection is known to be gone. */
export const OFFERS_PER_PEER_MAX = 2_048;
/** Workers whose last turn is remembered for `round-robin`; one that is forgotten comes first. */
export const TURNS_MAX = 4_096;

// Admission and membership.
/** A connection that has not logged in by then is closed. Pending peers keep theirs. */
export const LOGIN_TIMEOUT_MS = 10_000;
/** Connections that are not logged in, pending ones included. */
export const STRANGERS_MAX = 256;
/** Peers whose barring a gateway remembers without asking its store: what keeps out logins that were being decided. */
export const BARRED_REMEMBERED_MAX = 4_096;
/** Peers of which a gateway remembers that it has logged their refusal. */
export const REFUSALS_REMEMBERED_MAX = 4_096;
/** Connections of peers to one gateway, logged in or not. */
export const CONNECTIONS_MAX = 4_096;
/** Connections to the plain RPC endpoint, logged in or not. */
export const RPC_CONNECTIONS_MAX = 1_024;
/** Bytes read of a plain RPC connection before it has logged in; it is read no further until then. */
export const STRANGER_BYTES_MAX = 256 * KIB;
/** How long a join secret may be good after it was replaced. */
export const SECRET_GRACE_MS_MAX = 24 * 3_600_000;
/** Length of what names a submitter. */
export const SUBMITTER_LENGTH_MAX = 128;
/** Length of a trace context on the wire; those of versions to come may be longer than today's 55. */
export const TRACEPARENT_LENGTH_MAX = 256;
/** Length of an API token on the wire. */
export const TOKEN_LENGTH_MAX = 1_024;
/** Sessions that the clients of one plain RPC connection hold: by logging in, and by narrowing. */
export const SESSIONS_PER_CONNECTION_MAX = 64;
/** Modules that the clients of one plain RPC connection hold that are being uploaded, or wait to be used. */
export const UPLOADS_PER_CLIENT_MAX = 8;
/** Bytes of input files that they hold, finished, to be named by submissions. */
export const FILES_HELD_BYTES_MAX = 256 * MIB;
export const HEARTBEAT_EVERY_MS = 2_500;
export const HEARTBEAT_TTL_MS = 10_000;
export const HEARTBEAT_BYTES_MAX = 8 * KIB;
export const MEMBERS_MAX = 1_024;
/** Longest and first wait between two tries to reach a gateway. */
export const REDIAL_FIRST_MS = 100;
export const REDIAL_MAX_MS = 2_000;
/** How often a pending worker asks again. */
export const PENDING_RETRY_MS = 1_000;

// Net.
/** Bytes a transport holds unsent, above which `write` asks its caller to wait. */
export const TRANSPORT_WRITE_HIGH_BYTES = 1 * MIB;
/** Bytes a transport holds unsent, above which its writer ignores back-pressure and the stream is aborted. */
export const TRANSPORT_WRITE_BYTES_MAX = 128 * MIB;
/** Bytes a libp2p stream may have under way to a peer that does not read, and what is held of it. */
export const STREAM_WINDOW_BYTES_MAX = 2 * MIB;
export const STREAM_READ_BUFFER_BYTES_MAX = 8 * MIB;
/** How long a socket that has sent all its bytes waits for the other side to end too. */
export const CLOSE_LINGER_MS = 5_000;
/** One try to connect to one address of a peer: an address that keeps quiet for longer leads nowhere. */
export const DIAL_TIMEOUT_MS = 3_000;
/** From a TCP connection to an open stream. Somebody is there, and may be busy with many that came at once. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Addresses tried of one peer, and addresses read from any one source. */
export const PEER_ADDRESSES_MAX = 32;
/** A peer that does not answer a ping within the timeout is gone; pings go out at this pace. */
export const PING_EVERY_MS = 3_000;
export const PING_TIMEOUT_MS = 2_500;
/** Multicast questions while a peer is looked for: the first wait between two, and the longest. */
export const MDNS_QUERY_FIRST_MS = 500;
export const MDNS_QUERY_MAX_MS = 3_000;
/** Bytes of a small file of settings or secrets; a longer one is not ours. */
export const SETTINGS_FILE_BYTES_MAX = 64 * KIB;

// Leases.
export const LEASE_MS = 15_000;
/** A worker renews three times in a lease; of a shorter one, a busy machine makes silence. */
export const LEASE_MS_MIN = 1_000;
export const LEASE_MS_MAX = 10 * 60_000;
export const LEASE_RENEW_EVERY_MS = 5_000;
/** A worker renews no more often than this, whatever its gateway says. */
export const LEASE_RENEW_EVERY_MS_MIN = 100;
/** How often a worker looks for leases that ended, and a gateway too. */
export const LEASE_CHECK_EVERY_MS = 500;
/** A check of leases that comes this much off its time, either way, means that renewals may have been missed here. */
export const LEASE_CHECK_OFF_MS_MAX = 3_000;
/** How long a worker whose connection closed may take to come back before its attempts are lost. */
export const AWAY_GRACE_MS = 3_000;
/** Attempts of one run that each took a worker or runner down; then the run has failed, `poisoned`. */
export const LOST_ATTEMPTS_MAX = 5;

// Tasks.
export const MODULE_BYTES_MAX = 64 * MIB;
/** One request's body in all, the module and the files beside it included. */
export const REQUEST_BYTES_MAX = 145 * MIB;
/** What is read of a body that is refused, so that the answer reaches a client that reads only after writing. */
export const REFUSED_BODY_BYTES_MAX = 256 * MIB;
export const REFUSED_BODY_MS_MAX = 20_000;
/** What is read of a body that nobody has asked for, once the request is answered; then the connection is closed. */
export const UNREAD_BODY_BYTES_MAX = 1 * MIB;
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
export const RETRIES_MAX = 1_000;
/** No wait before a retry grows beyond this; one that was asked for stays as it is. */
export const RETRY_BACKOFF_MS_MAX = 3_600_000;
export const PRIORITY_MAX = 100;
/** Runs of one task that are due and not settled, made as rows; the next come as these settle. */
export const OPEN_RUNS_PER_TASK_MAX = 256;
/** Unfinished tasks; past it a submission is told to come back. */
export const QUEUED_TASKS_MAX = 1_000_000;
/** Bytes of their args, environments, stdin and other fields. */
export const QUEUED_BYTES_MAX = 4_096 * MIB;
/** stdout, and stderr, as shown inside a result; the whole is in the log. */
export const RESULT_TEXT_BYTES_MAX = 64 * KIB;
export const LIST_LIMIT_DEFAULT = 100;
export const LIST_LIMIT_MAX = 1_000;
export const OUTPUT_CHUNK_BYTES_MAX = 256 * KIB;

// Files of tasks.
/** Bytes of a file's path below a guest's `/`, and of one name in it. */
export const FILE_PATH_BYTES_MAX = 1_024;
export const FILE_NAME_BYTES_MAX = 255;
/** Files that one task is given; with the folders they lie in; and their bytes together, of which one file may be all. */
export const INPUT_FILES_MAX = 1_000;
export const INPUT_ENTRIES_MAX = 5_000;
export const INPUT_FILES_BYTES_MAX = 64 * MIB;
/** Files that are kept of one run, and their bytes together, of which one file may be all. */
export const KEPT_FILES_MAX = 1_000;
export const KEPT_FILES_BYTES_MAX = 64 * MIB;
/** Files of one submission that are made durable at once. */
export const FILES_COMMITTED_AT_ONCE = 16;
/** Files of one attempt whose bytes a gateway takes in at once, and that it has open to send. */
export const INCOMING_FILES_PER_ATTEMPT_MAX = 4;
export const FILES_OPEN_PER_RUN_MAX = 16;
/** Files of one run that a worker fetches at once. */
export const FILES_FETCHED_AT_ONCE = 8;
/** Pieces of a file that a worker has under way to its gateway. */
export const FILE_WRITES_IN_FLIGHT = 4;
/** Bytes of files that wait on a worker's disk for a gateway; past it, the worker offers no slots. */
export const FILES_SPOOLED_BYTES_MAX = 4_096 * MIB;
/** Waits of a worker whose gateway is too busy for output or a file: the first, and the longest. */
export const RESEND_FIRST_MS = 50;
export const RESEND_MAX_MS = 2_000;
/** How long a runner may take to hand over the files of a guest that has ended. */
export const COLLECT_MS_MAX = 60_000;
/** Globs of one task that say which files to keep, and the characters of one. */
export const OUTPUT_GLOBS_MAX = 32;
export const OUTPUT_GLOB_LENGTH_MAX = 256;

// Module inspection. A count past its limit is refused before anything is made for it.
export const WASM_TYPES_MAX = 200_000;
/** Parameters, results, fields or supertypes of one type. */
export const WASM_TYPE_ITEMS_MAX = 10_000;
export const WASM_FUNCTIONS_MAX = 1_000_000;
export const WASM_IMPORTS_MAX = 1_000;
export const WASM_EXPORTS_MAX = 10_000;
export const WASM_GLOBALS_MAX = 100_000;
export const WASM_TAGS_MAX = 10_000;
export const WASM_SEGMENTS_MAX = 1_000_000;
/** Memories and tables that a module defines, all core modules of a component together. */
export const WASM_MEMORIES_MAX = 32;
export const WASM_TABLES_MAX = 32;
export const WASM_NAME_BYTES_MAX = 64 * KIB;
/** Names of imports and exports of one module together. */
export const WASM_NAMES_BYTES_MAX = 1 * MIB;
/** Text of a function type's parameters, or results; longer ones are cut. */
export const WASM_SIGNATURE_LENGTH_MAX = 100;
/** Core modules inside one component, at any depth. */
export const COMPONENT_MODULES_MAX = 256;
/** Components inside components. */
export const COMPONENT_DEPTH_MAX = 8;
/** Types, functions, instances and components that one component defines, those of everything inside it included. */
export const COMPONENT_ITEMS_MAX = 200_000;
/** Text of one of its types, and of all of them; what is longer is told from everything else, and from nothing like it. */
export const COMPONENT_TEXT_LENGTH_MAX = 1_024;
export const COMPONENT_TEXTS_LENGTH_MAX = 4 * MIB;
/** Functions and types of the interfaces that it imports, and of those it exports, that are listed. */
export const COMPONENT_FUNCTIONS_MAX = 10_000;
/** Sections of a module, those of everything inside it included. */
export const WASM_SECTIONS_MAX = 20_000;
/** Bytes that are read one by one, of all sections together; code and segments are stepped over. */
export const WASM_READ_BYTES_MAX = 8 * MIB;

// Store.
/** Operations that wait for the store, and the bytes they carry; past either the next is told to come back. */
export const STORE_PENDING_OPERATIONS_MAX = 65_536;
export const STORE_PENDING_BYTES_MAX = 128 * MIB;
/** Operations, and rows they write, in one transaction; the rest goes into the next one. */
export const STORE_GROUP_OPERATIONS_MAX = 512;
export const STORE_GROUP_WRITES_MAX = 8_192;
/**
 * How long the store waits for another process that has its file locked, reads and all; and how long once it is known to
 * be locked, while reads go on in between.
 */
export const STORE_BUSY_TIMEOUT_MS = 2_000;
export const STORE_STILL_BUSY_TIMEOUT_MS = 50;
/** How long a lock file is waited for: others that only try to take it are gone by then. It blocks the thread. */
export const FILE_LOCK_BUSY_MS_MAX = 100;
/** Links from the database's name to its file: as many as Linux follows. */
export const STORE_PATH_LINKS_MAX = 40;
/** New work is refused below this much room on the disk, or below this share of it if that is less. */
export const DISK_FREE_BYTES_MIN = 32 * MIB;
export const DISK_FREE_SHARE_MIN = 0.1;
/** A database up to this size is read through for damage when it is opened. */
export const STORE_CHECKED_BYTES_MAX = 64 * MIB;
/** Blobs that a process remembers to have found undamaged. */
export const BLOBS_KNOWN_WHOLE_MAX = 65_536;
/** How often a gateway looks whether its store is in trouble, and writes at most to find out. */
export const STORE_CHECK_EVERY_MS = 1_000;
/** Specs, results and output in one answer of the store; a list that would be longer ends early. */
export const STORE_PAGE_BYTES_MAX = 16 * MIB;
/** Specs that the store keeps in memory. */
export const STORE_SPEC_CACHE_BYTES_MAX = 16 * MIB;
/**
 * A blob that could not be read for so many attempts, and for so long, while the store was well, is given up, and the runs
 * that need it. Until then they wait between tries: first, and at most. When nobody has met the trouble for so long, it counts
 * anew. Such blobs that a gateway remembers.
 */
export const BLOB_UNREADABLE_ATTEMPTS_MAX = 5;
export const BLOB_UNREADABLE_MS_MAX = 60_000;
export const BLOB_FORGIVEN_MS = 600_000;
export const BLOB_RETRY_FIRST_MS = 500;
export const BLOB_RETRY_MAX_MS = 15_000;
export const UNREADABLE_BLOBS_MAX = 1_024;
/** Rows of deleted tasks that are removed in one transaction: when there is nothing else to do, and beside other work. */
export const STORE_PURGE_ROWS_MAX = 512;
export const STORE_PURGE_ROWS_BUSY_MAX = 64;
/** How long nothing is wanted of the store before it sees to its file. */
export const STORE_IDLE_MS = 100;
/** Frames of the log, of a page each, that need not be written back when the store is idle. */
export const STORE_LOG_FRAMES_KEPT = 256;
/** Free pages of the database that stay for what comes: a number, or a share of all if that is more. */
export const STORE_FREE_PAGES_KEPT = 2_048;
export const STORE_FREE_PAGES_KEPT_SHARE = 0.1;
/** Pages that go back to the disk at a time. */
export const STORE_VACUUM_PAGES = 256;
/** Tasks that wait for one that is to be forgotten which are looked at; with more of them it is kept. */
export const STORE_DEPENDENTS_LOOKED_AT_MAX = 1_000;
/** Runs whose back-off has ended that one look at the ready runs takes in. */
export const STORE_ENDED_BACKOFFS_MAX = 4_096;
/** Blobs that one operation says it has let go of; what is beyond is found by going through all blobs. */
export const STORE_FREED_BLOBS_MAX = 4_096;
/** Bytes of logs that one step of forgetting runs removes; the last of them may be beyond. */
export const STORE_FORGET_OUTPUT_BYTES = 8 * MIB;
/** Rows that it removes, the last run's may be beyond; and of them those of logs, which are large. */
export const STORE_FORGET_ROWS_MAX = 4_096;
export const STORE_FORGET_LOG_ROWS_MAX = 512;
/** Attempts of a run that are remembered, the latest. */
export const ATTEMPTS_KEPT_PER_RUN_MAX = 100;
/** Small writes to a log are put together in rows of up to this many bytes. */
export const OUTPUT_ROW_BYTES_MAX = 8 * KIB;

// Scheduling.
/** Length of a cron expression, and expressions that a store keeps ready to be used. */
export const CRON_LENGTH_MAX = 256;
export const CRON_SCHEDULES_MAX = 4_096;
/** Slots that `catchup=all` makes up for in one go, the latest. */
export const CATCHUP_RUNS_MAX = 1_000;
/** How many other runs making one ready counts for that has all its task's missed slots counted. */
export const CATCHUP_PROMOTE_WEIGHT = 100;
/** Slots that are looked at in one go for one that has not fired; so many count for as much as making one run ready. */
export const SLOTS_LOOKED_AT_MAX = 200;
export const SLOTS_LOOKED_AT_PER_PROMOTE = 4;
/** How long a submission is kept that came with a key of its submitter's; and how many are, the latest. */
export const SUBMISSION_KEPT_MS = 24 * 3_600_000;
/** Output of a run of a worker's own kind that was written and has not been passed on. */
export const CUSTOM_OUTPUT_PENDING_BYTES_MAX = 4 * MIB;
/** Length of an entry's or a kind's name; and how many kinds a worker has. */
export const KIND_LENGTH_MAX = 32;
export const WORKER_KINDS_MAX = 64;
/** Modules that came by themselves (`PUT /modules`) and are held, whether or not tasks use them. */
export const HELD_MODULES_MAX = 10_000;
/** When a held module was last named is noted no finer than this. */
export const HELD_MODULE_AGE_GRAIN_MS = 60_000;
/** Modules that one page of a list looks at: what is known of those that are gone is still there. */
export const MODULES_LOOKED_AT_MAX = 10_000;
export const SUBMISSIONS_KEPT_MAX = 1_000_000;
/** Rows of submissions that have had their time which one more removes. */
export const SUBMISSION_PURGE_ROWS_MAX = 512;
export const SUBMISSION_KEY_LENGTH_MAX = 255;
/** Lines of one batch, and its bytes. */
export const BATCH_LINES_MAX = 10_000;
/** Runs that a batch makes ready at once, beyond the first of each task; the others that are due follow bit by bit. */
export const BATCH_READY_RUNS_MAX = 10_000;
export const BATCH_BYTES_MAX = 16 * MIB;
/** What is wrong with a batch is told of so many fields. */
export const BATCH_ERRORS_MAX = 100;
/** Tasks that the lines of one batch run after, all lines together: each is a row, and all are one transaction. */
export const BATCH_AFTER_MAX = 50_000;
/** Of a cycle of tasks that run after each other, so many are named in the refusal. */
export const CYCLE_LINKS_SHOWN_MAX = 8;
/** Lists and objects within each other in one of its lines. */
export const BATCH_NESTING_MAX = 16;
/** Different cron expressions in one batch: the first slot of each is looked for in that transaction. */
export const BATCH_CRONS_MAX = 2_000;
/** How long reading a batch goes on before it is the turn of what else waits on the event loop. */
export const LOOP_TURN_MS_MAX = 10;
/** Fields that are none of a submission, of which one refusal tells. */
export const STRANGERS_TOLD_MAX = 20;
/** Tasks that are looked for at once, to say all that is wrong with a batch: of all that its lines name. */
export const BATCH_LOOKUP_TASKS = 1_000;
/** When whoever finds the queue full is told to come back, at least and at most. */
export const QUEUE_RETRY_MS_MIN = 1_000;
export const QUEUE_RETRY_MS_MAX = 60_000;
/** Runs, tasks or workers that an explanation of where a task is names one by one; and ready runs that it counts. */
export const EXPLAINED_ITEMS_MAX = 20;
export const EXPLAINED_AHEAD_MAX = 1_000;
/** Tasks that one task may run after. */
export const AFTER_MAX = 1_000;
/** Length of the reason of a task that is cancelled because of another one; longer ones lose their middle. */
export const DEPENDENCY_REASON_LENGTH_MAX = 1_000;
/** A cron slot counts as missed when nobody was there this long after it; and, with somebody there, this much later. */
export const SLOT_LATE_MS_MAX = 1_000;
export const SLOT_STALL_MS_MAX = 10_000;
/** How often the wall clock is looked at while a run waits for its time: it may jump. */
export const CLOCK_CHECK_EVERY_MS = 1_000;
/** The wall clock was set if it is off by this much, compared with the monotonic one, since it was looked at last. */
export const CLOCK_JUMP_MS_MIN = 500;
/** Runs made ready in one transaction. */
export const PROMOTE_BATCH = 500;
/** Ready runs that are looked at in one go for the offers that wait: first, and at most while none of them fits. */
export const MATCH_WINDOW_FIRST = 256;
export const MATCH_WINDOW_MAX = 4_096;
/** Sets of required labels that nobody offers which the dispatcher remembers. */
export const UNMET_REQUIREMENTS_MAX = 512;
/** Leases that are given up in one go. */
export const EXPIRE_BATCH = 500;
/** Attempts that a worker may lose in a row before it is left alone for a while: the first rest, and the longest. */
export const WORKER_FAILURES_BEFORE_REST = 3;
export const WORKER_REST_FIRST_MS = 100;
export const WORKER_REST_MAX_MS = 10_000;
/** Workers that have failed of late which are remembered. */
export const WORKER_RESTS_MAX = 4_096;
/** Blobs that are deleted at once. */
export const RETIREMENTS_AT_ONCE_MAX = 16;
/** Faults of a worker, within a window of time, that put it into quarantine, and the share of its attempts they have to be. */
export const QUARANTINE_FAULTS_MIN = 3;
export const QUARANTINE_SHARE_MIN = 0.25;
export const QUARANTINE_WINDOW_MS = 10 * 60_000;
/** How long a worker in quarantine gets no run, doubling with each probe that is lost, and the longest. */
export const QUARANTINE_FIRST_MS = 30_000;
export const QUARANTINE_MAX_MS = 30 * 60_000;
/** A worker that was trusted for this long begins with the shortest quarantine again. */
export const QUARANTINE_FORGET_MS = 60 * 60_000;
/** Faults remembered of one worker. */
export const FAULTS_PER_WORKER_MAX = 64;
/** Workers whose record is kept. */
export const WORKER_RECORDS_MAX = 4_096;
/** Runs, and modules, that went wrong somewhere and may go right elsewhere; and workers remembered of one. */
export const SUSPICIONS_MAX = 4_096;
export const SUSPICIONS_PER_RUN_MAX = 16;
/**
 * How long a run that was lost waits for a worker that it has not been tried on, before it goes to one again that has lost
 * it: doubling with each attempt, and the longest.
 */
export const UNTRIED_WAIT_FIRST_MS = 10_000;
export const UNTRIED_WAIT_MAX_MS = 5 * 60_000;
/** Runs that wait so. */
export const UNTRIED_WAITS_MAX = 4_096;
/**
 * A gateway gives up an attempt whose outcome does not come: this long after the guest's own time is over, for fetching and
 * preparing the module and sending the rest of the output, and longer by what the bytes take at this pace.
 */
export const ANSWER_ALLOWANCE_MS = 120_000;
export const TRANSFER_BYTES_PER_SECOND_MIN = 128 * KIB;
/** Modules whose size the dispatcher remembers. */
export const MODULE_SIZES_MAX = 4_096;
/** Cancelled attempts whose end is waited for; of those beyond them the leases have to end. */
export const CANCELLED_ATTEMPTS_MAX = 10_000;
/** An outcome that the store does not take is offered again: the first wait, and the longest. */
export const SETTLE_RETRY_FIRST_MS = 50;
export const SETTLE_RETRY_MAX_MS = 5_000;
/** What a drained worker has not finished, and the store did not say when its time was up, is asked for again so often. */
export const TAKE_BACK_RETRY_MS = 1_000;
/** No run is started for a while after the store has failed: the first wait, and the longest. */
export const DISPATCH_RETRY_FIRST_MS = 50;
export const DISPATCH_RETRY_MAX_MS = 5_000;

// Sandbox.
/** How long one try at a wall may take. */
export const WALL_PROBE_MS_MAX = 10_000;
/** How long the types of a sandboxed process's sources may take to be stripped. */
export const STRIP_TYPES_MS_MAX = 60_000;
/** Length of what a program that builds a wall is heard to say. */
export const WALL_REASON_LENGTH_MAX = 300;
/** Bytes of an executable that are read for how it is loaded. */
export const ELF_HEADERS_BYTES_MAX = 4 * KIB;
/** Writable memory of one runner: a guest's largest linear memory, the engine's heap, and what V8 sets aside for code. */
export const RUNNER_DATA_BYTES_MAX = 6_144 * MIB;
export const RUNNER_DESCRIPTORS_MAX = 64;
/** The same of the process that transpiles, and the processor time of all its threads. */
export const TRANSPILER_DATA_BYTES_MAX = 4_096 * MIB;
export const TRANSPILER_DESCRIPTORS_MAX = 256;
/** Past it the component is refused. One of 12 MB takes one or two. */
export const TRANSPILER_CPU_SECONDS_MAX = 10;

// Retention.
export const RETAIN_MS_DEFAULT = 30 * 24 * 3_600_000;
/** How long a module that came by itself is held after it was last brought or named, while no task uses it. */
export const RETAIN_MODULES_MS_DEFAULT = 7 * 24 * 3_600_000;
/**
 * How often a gateway looks for tasks and modules that are too old, the first time included: as often as the time for which
 * they are kept goes by, within these bounds.
 */
export const RETAIN_SWEEP_EVERY_MS_MAX = 60_000;
export const RETAIN_SWEEP_EVERY_MS_MIN = 1_000;
/** Tasks that are forgotten in one transaction, and the wait before the next one: it is everybody's turn then. */
export const RETAIN_BATCH = 50;
export const RETAIN_BATCH_PAUSE_MS = 100;
/**
 * A clock that went this much otherwise than time was set; nothing that ended before is forgotten by it alone until it has
 * run well for so long. Nor is anything from before the start in the first such time after it.
 */
export const RETAIN_CLOCK_OFF_MS_MAX = 60_000;
export const RETAIN_CLOCK_TRUST_MS = 3_600_000;
/** A gateway leaves word of its clock for the next one once that has run well for so long, and then every so often. */
export const RETAIN_CLOCK_MARK_EVERY_MS = 600_000;

// Inspection.
/** Reading one module, from when its process has it. One of 64 MiB takes well under a second. */
export const INSPECT_MS_MAX = 10_000;
export const INSPECTOR_START_MS_MAX = 30_000;
/** Modules that wait to be inspected. */
export const INSPECTIONS_WAITING_MAX = 1_024;
/** Modules that the process has at once: the one it reads, and those it finds when it is done with that. */
export const INSPECTIONS_AT_ONCE_MAX = 8;
/** Modules that one process reads before another takes its place. */
export const INSPECTIONS_PER_PROCESS_MAX = 1_000;
/** Bytes of a module that are read from its file, and sent, at once. */
export const INSPECTION_CHUNK_BYTES = 256 * KIB;
/** Bytes of one verdict. */
export const INSPECTION_VERDICT_BYTES_MAX = 16 * MIB;
/** JavaScript heap of the process, in MiB; its writable memory in all, which the module lies in too; descriptors. */
export const INSPECTOR_HEAP_MIB_MAX = 256;
export const INSPECTOR_DATA_BYTES_MAX = 1_536 * MIB;
export const INSPECTOR_DESCRIPTORS_MAX = 64;
/** Verdicts that a worker keeps on its disk; past it the oldest go. */
export const VERDICTS_KEPT_MAX = 4_096;

// Worker.
/** How long a stopping worker waits, at most, for the gateway to take back the attempts it could not finish. */
export const WORKER_HAND_BACK_MS = 1_500;
export const SLOTS_MAX = 1_024;
/** Labels of one worker, and the length of a label's name or value. */
export const LABELS_MAX = 64;
export const LABEL_LENGTH_MAX = 256;
/** Modules that a worker says it has cached. */
export const MODULES_ADVERTISED_MAX = 64;
/** Length of the reason in an outcome; longer ones are cut. */
export const REASON_LENGTH_MAX = 4 * KIB;
/** Attempts that one worker holds, finished and not yet acknowledged ones included. All are named in one message. */
export const HELD_ATTEMPTS_MAX = 4_096;
/** An outcome that is not acknowledged within this time is put on the worker's disk; at once while no gateway is there. */
export const KEEP_OUTCOME_AFTER_MS = 20;
/** How long an outcome waits for its gateway to come back. */
export const KEPT_OUTCOME_MS_MAX = 7 * 24 * 3_600_000;
/** Outcomes that are being put on the disk. */
export const OUTCOMES_SAVED_AT_ONCE_MAX = 16;
/** What is kept of an outcome, besides its output: the most that the paths of its files take as JSON, and the rest. */
export const KEPT_HEADER_BYTES_MAX = KEPT_FILES_MAX * 6 * FILE_PATH_BYTES_MAX + 1 * MIB;
/** Waits of a worker whose offers are refused, or taken and dropped: the first, and the longest. */
export const OFFER_RETRY_FIRST_MS = 2;
export const OFFER_RETRY_MAX_MS = 1_000;
/** Bytes of output of one attempt that a worker holds and the gateway has not acknowledged, in memory. */
export const OUTPUT_IN_MEMORY_BYTES_MAX = 1 * MIB;
export const MODULE_CACHE_BYTES_MAX = 2_048 * MIB;
/** Read of a cached file at once, while its digest is computed: nothing else goes on here meanwhile. */
export const CACHED_FILE_READ_BYTES = 4 * MIB;
/** Runs on one runner process, after which it is replaced. At a tenth of it, replacing costs as much as running. */
export const RUNS_PER_RUNNER_MAX = 10_000;
/** Transpiled components kept on a worker's disk; past it the least recently used go. */
export const TRANSPILED_CACHE_BYTES_MAX = 512 * MIB;
export const RUNNER_START_MS_MAX = 30_000;
/** How long after a runner was taken, or has ended, its successor is started, and the pause between two such starts. */
export const RUNNER_REPLENISH_MS = 100;
/** How long to wait before trying again to start a runner after one did not come up. */
export const RUNNER_RESTART_MS = 500;
/** Modules whose plans the pool of runners remembers. */
export const MODULE_PLANS_MAX = 512;
/** Modules that one runner keeps compiled. */
export const MODULES_PER_RUNNER_MAX = 16;
/** Bytes of those modules together; a larger one is kept alone. Compiled they take three times that, and up to thirteen times. */
export const MODULE_BYTES_PER_RUNNER_MAX = 64 * MIB;
/**
 * Bytes of code up to which a module is compiled by the optimizing compiler at once. Its first run then takes a few
 * milliseconds more, a few hundred at most, and its hot loops run at full speed from the start.
 */
export const SMALL_CODE_BYTES_MAX = 512 * KIB;
/** What compiling a byte of code well takes of CPU time; a third of it to all of it was seen. */
export const OPTIMIZING_NS_PER_CODE_BYTE = 600;
/** Large modules of which a worker remembers what their runs showed, and the file that keeps it. */
export const TIER_MEMORY_MAX = 1_024;
export const TIER_MEMORY_BYTES_MAX = 1 * MIB;
/** JavaScript heap of a runner, in MiB. Guests' linear memories and files lie outside it. */
export const RUNNER_HEAP_MIB_MAX = 512;
/** Length of what is kept of a runner's stderr, its end, to explain its death. */
export const RUNNER_STDERR_LENGTH_MAX = 4 * KIB;
/** Bytes of output read from a runner and not yet passed on, above which it is not read. */
export const RUNNER_OUTPUT_QUEUE_BYTES_MAX = 256 * KIB;
/** Bytes in one frame of output, and in the report of a guest's end, that a runner may send. */
export const RUNNER_OUTPUT_FRAME_BYTES_MAX = 64 * KIB;
export const RUNNER_END_FRAME_BYTES_MAX = 64 * KIB;
/** How often the memory of a runner with a guest is looked at. */
export const MEMORY_CHECK_EVERY_MS = 100;
/** How often the memory of a runner without one is, at most. */
export const IDLE_MEMORY_READ_EVERY_MS = 1_000;
/** Memory of its own of a runner that had no guest yet, about: it has from 9 to 15 MiB. */
export const RUNNER_FRESH_BYTES = 16 * MIB;
/** How much more an idle runner may have than when it was last collected, before it is again. */
export const IDLE_MEMORY_GROWTH_BYTES = 24 * MIB;
/** The same, past which it lets go of its modules. With one interpreter of 16 to 26 MB compiled it has 90 to 130 MiB. */
export const RUNNER_IDLE_BYTES_MAX = 144 * MIB;
/** What a runner may have besides its guest's linear memory: the engine's heap and code, the guest's files. */
export const RUNNER_OVERHEAD_BYTES_MAX = 1_024 * MIB;
/** What the engine may take while a guest with several memories runs, beyond what those may have together. */
export const SEVERAL_MEMORIES_SLACK_BYTES = 64 * MIB;
/** Linear memory from which on a runner collects its garbage once the guest has ended, before another comes. */
export const COLLECT_ABOVE_BYTES = 16 * MIB;
/** The pace at most at which a guest's CPU time is looked at. */
export const CPU_CHECK_EVERY_MS_MIN = 10;
/** Waits before the process that watches over the runners is started again: the first, and the longest. */
export const OWNER_WATCH_RESTART_FIRST_MS = 50;
export const OWNER_WATCH_RESTART_MAX_MS = 10_000;
/** Transpiling one component. One of 12 MB takes a few seconds on a slow machine. */
export const TRANSPILE_MS_MAX = 60_000;
/**
 * JavaScript that one component may be transpiled to. It grows with the functions and types of the component's outside, not with its
 * code: some 300 KiB for a command in C, whatever its size.
 */
export const TRANSPILED_GLUE_BYTES_MAX = 16 * MIB;
/** That and the core modules together, which are pieces of the component. */
export const TRANSPILED_BYTES_MAX = 2 * MODULE_BYTES_MAX + TRANSPILED_GLUE_BYTES_MAX;
/** JavaScript heap of the process that transpiles, in MiB. */
export const TRANSPILER_HEAP_MIB_MAX = 1_024;
/** Length of what is kept of what it says on stderr, its beginning. */
export const TRANSPILER_STDERR_LENGTH_MAX = 2 * KIB;
/** Pages of 64 KiB of one memory: 4 GiB, the most that a task may ask for. Each task's own cap is in its module. */
export const WASM_MEMORY_PAGES_MAX = 65_536;
/** Memories of one core module as a runner gets it, imported ones included. */
export const CORE_MEMORIES_MAX = 1;
/** To which each table may grow after the inspection; `WASM_TABLES_MAX` bounds them together. */
export const WASM_TABLE_ENTRIES_MAX = 100_000;
/** What a guest's files take in memory: those that it is given, and as much again. */
export const GUEST_FILES_BYTES_MAX = INPUT_FILES_BYTES_MAX + 64 * MIB;
export const GUEST_FILES_MAX = 10_000;
export const GUEST_FDS_MAX = 1_024;
/** Handles of its host's that a component holds: descriptors, streams, pollables. */
export const GUEST_RESOURCES_MAX = 65_536;

// Http.
export const SSE_PING_EVERY_MS = 15_000;
/** Bytes waiting for a slow reader of a live stream, above which it is cut off and may resume. */
export const SSE_BUFFER_BYTES_MAX = 1 * MIB;
export const SSE_CONNECTIONS_MAX = 4_096;
/** Of these, on one token. */
export const SSE_CONNECTIONS_PER_TOKEN_MAX = 512;
/** A reader of a log, live or not, that takes nothing for this long is cut off and may resume. */
export const SSE_STALL_MS_MAX = 60_000;
/** Bytes of output in one live event. Escaped as JSON they may grow sixfold, and still fit the buffer. */
export const LOG_EVENT_BYTES_MAX = 64 * KIB;
/** Pieces of one page of a log over RPC. */
export const LOG_PIECES_MAX = 4_096;
/** Shorter answers are sent as they are: compressing them costs more than it saves. */
export const COMPRESS_BYTES_MIN = 4 * KIB;
/** Pages of one log that its readers share until its next event. */
export const SHARED_PAGES_MAX = 32;
/** Bytes of live events that are written to a reader at once. */
export const SSE_WRITE_BYTES_MAX = 128 * KIB;
/** Bytes of a kept file that are read at once to be sent. */
export const FILE_SEND_BYTES = 256 * KIB;
/** Events kept for readers of the event stream that come back. */
export const EVENT_HISTORY_MAX = 1_024;
/** Events of one answer over RPC. */
export const EVENTS_PER_PAGE_MAX = 256;
/** How long a question for a task's end may stay open. */
export const TASK_WAIT_MS_MAX = 60_000;
/** An idle connection is kept for the next request; longer than the usual proxies keep theirs. */
export const HTTP_KEEP_ALIVE_MS = 75_000;
/** One request's head, from its first byte to its last. */
export const HTTP_HEAD_MS_MAX = 30_000;
/** How long the disposal of a server waits for requests that are under way. */
export const HTTP_DISPOSE_GRACE_MS = 1_000;
/** Connections to the HTTP server. */
export const HTTP_CONNECTIONS_MAX = 8_192;
/** Submissions whose bodies are coming in. */
export const UPLOADS_MAX = 512;
/** What they hold in memory together: texts, stdin, and what is on its way to the disk. */
export const UPLOADS_BYTES_HELD_MAX = 128 * MIB;
/** Of them, what one form may: all texts that a task may have, twice, its stdin, and the heads of its parts. */
export const FORM_BYTES_HELD_MAX = 48 * MIB;
/** A body of which nothing comes for this long is given up. */
export const UPLOAD_IDLE_MS_MAX = 60_000;
/** A body that has taken longer than this, and has come more slowly than that from its beginning on, is refused. */
export const UPLOAD_SLOW_MS_MAX = 30_000;
export const UPLOAD_BYTES_PER_SECOND_MIN = 1 * KIB;
/** One request, from its first byte to its last. */
export const REQUEST_MS_MAX = 3_600_000;

// Client.
/** How long a client tries to reach a gateway that went away: the waits between two tries, the first and the longest. */
export const RECONNECT_MS_MAX_DEFAULT = 60_000;
export const RECONNECT_FIRST_MS = 200;
export const RECONNECT_MAX_MS = 2_000;
/** How long one question of a client for a task's end stays open; less than a gateway allows. */
export const CLIENT_WAIT_MS = 25_000;
/** Items that a client asks for at once. */
export const CLIENT_PAGE_LENGTH = 500;
/** Characters that a client reads of a refusal; a problem document is short. */
export const PROBLEM_LENGTH_MAX = 64 * KIB;
/** Characters of one event of a live stream. A longer one is no gateway's: a log event is cut far below it. */
export const SSE_EVENT_LENGTH_MAX = 4 * MIB;

// Process.
export const GRACE_MS_DEFAULT = 30_000;
/** How long closing all connections and files may take, at most, after what could not be finished was handed back. */
export const CLOSE_MS_MAX = 1_500;
/** Handing back and closing, which are within the grace, have this much together, however short the grace is. */
export const DRAIN_ENDING_MS_MIN = 250;

// Tokens and the audit log.

/** Tokens that are kept, ended ones included, which go first. */
export const TOKENS_MAX = 10_000;
/** How long a token that has ended is still shown, if there is room. */
export const TOKEN_KEPT_AFTER_END_MS = 30 * 86_400_000;
/** Powers that a request to narrow may name. */
export const POWERS_NAMED_MAX = 16;
/** Bytes of a request for a token. */
export const TOKEN_REQUEST_BYTES_MAX = 16 * 1024;
/** Characters of a token's label. */
export const TOKEN_LABEL_LENGTH_MAX = 128;
/** Entries of the audit log; the oldest go. */
export const AUDIT_ENTRIES_MAX = 1_000_000;
/** Entries that wait for the store; beyond them they are counted and lost, which the program's log says. */
export const AUDIT_PENDING_MAX = 50_000;
/** Entries that go to the store at once. */
export const AUDIT_BATCH_MAX = 1_000;
/** How long a reader of the audit log waits for what was recorded before. */
export const AUDIT_READ_WAIT_MS_MAX = 5_000;
/** Refusals that are written down, a second, over time; and how many at once. Of sessions' beginnings and ends as many. */
export const AUDIT_REFUSALS_PER_SECOND = 5;
export const AUDIT_REFUSALS_BURST = 100;
/** Characters of what an entry is about: an address may be long. */
export const AUDIT_SUBJECT_LENGTH_MAX = 256;
/** Characters of an entry's detail. */
export const AUDIT_DETAIL_LENGTH_MAX = 512;
/** A limit per second allows this many seconds' worth at once. */
export const RATE_BURST_SECONDS = 10;

/** How often somebody who watches discovery asks. */
export const DISCOVERY_ASK_EVERY_MS = 5_000;
/** Addresses of one peer that are shown of a discovery packet. */
export const DISCOVERY_ADDRESSES_SHOWN = 8;

// Doctor.
/** Free bytes of a disk below which it is too full to begin, and below which that is near. */
export const DISK_BYTES_MIN = 100 * MIB;
export const DISK_BYTES_LITTLE = 1_024 * MIB;
/** How long a gateway may take to answer. */
export const DOCTOR_GATEWAY_MS_MAX = 5_000;
/** How far the clocks of gateway and client may be apart. */
export const DOCTOR_CLOCK_OFF_MS_MAX = 5_000;
