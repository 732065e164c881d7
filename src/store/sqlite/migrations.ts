/**
 * The schema of the SQLite file, as numbered steps. Step n brings a file from version n-1 to n, in one transaction;
 * `PRAGMA user_version` holds the version. A step that was released never changes: a correction is the next step.
 *
 * What the tables lean on:
 * - `tasks` is small and changes with every run; what never changes and may be large is in `specs`.
 * - `runs` has one row per run that was made. The open ones are found by partial indexes, so that settled runs, however
 *   many, cost nothing. A run has an outcome when it is settled, never before. One in back-off is `ready` with
 *   `not_before` above 0.
 * - `requirements` numbers the sets of labels that tasks require; 0 stands for none. Numbers are never used again.
 * - `output` holds a run's log in rows that follow each other without a gap. `segments` says whose the bytes are:
 *   numbers, each followed by a comma, positive for stdout and negative for stderr.
 * - There are no foreign keys: a deleted task's rows are removed in pieces, after the task (`graves`). A serial is
 *   never used again, so that they belong to nobody meanwhile.
 * - Times are REAL, as a clock's milliseconds need not be whole.
 *
 * The file is long, as each version adds to it and no step is ever taken away.
 */

export interface Migration {
  /** The version that the file then has. */
  readonly version: number;
  readonly sql: string;
}

const V1 = `
  CREATE TABLE tasks (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    module TEXT NOT NULL,
    first_due_at REAL NOT NULL,
    delay_ms REAL NOT NULL,
    total INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    backoff_ms REAL NOT NULL,
    retry_on TEXT NOT NULL,
    created_at REAL NOT NULL,
    state TEXT NOT NULL,
    is_cancelled INTEGER NOT NULL,
    scheduled INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    running INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    made INTEGER NOT NULL,
    next_due_at REAL,
    finished_at REAL,
    reason TEXT,
    result_run INTEGER,
    latest_run INTEGER
  ) STRICT;
  CREATE INDEX tasks_by_state ON tasks (state, serial);
  CREATE INDEX tasks_by_module ON tasks (module);

  CREATE TABLE specs (
    serial INTEGER PRIMARY KEY,
    spec TEXT NOT NULL,
    stdin BLOB NOT NULL
  ) STRICT;

  CREATE TABLE runs (
    task INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_at REAL NOT NULL,
    priority INTEGER NOT NULL,
    not_before REAL NOT NULL,
    attempt INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    worker TEXT,
    started_at REAL,
    lease_until REAL,
    output_bytes INTEGER NOT NULL,
    attempt_offset INTEGER NOT NULL,
    output_truncated INTEGER NOT NULL,
    outcome TEXT,
    wall_ms REAL,
    cpu_ms REAL,
    memory_bytes REAL,
    result TEXT,
    PRIMARY KEY (task, idx)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX runs_scheduled ON runs (due_at) WHERE state = 'scheduled';
  CREATE INDEX runs_ready ON runs (priority DESC, due_at, task, idx) WHERE state = 'ready' AND not_before = 0;
  CREATE INDEX runs_backing_off ON runs (not_before) WHERE state = 'ready' AND not_before > 0;
  CREATE INDEX runs_open ON runs (task, idx) WHERE outcome IS NULL;
  CREATE INDEX runs_running ON runs (task, started_at) WHERE state = 'running';
  CREATE INDEX runs_leased ON runs (lease_until) WHERE state = 'running';

  CREATE TABLE attempts (
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    worker TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    outcome TEXT,
    PRIMARY KEY (task, run, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE output (
    row INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    start INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    segments TEXT NOT NULL,
    bytes BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX output_by_start ON output (task, run, start);

  CREATE TABLE modules (
    digest TEXT PRIMARY KEY,
    inspection TEXT NOT NULL,
    created_at REAL NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE admissions (
    peer TEXT PRIMARY KEY,
    admission TEXT NOT NULL,
    changed_at REAL NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE graves (
    serial INTEGER PRIMARY KEY
  ) STRICT;

  CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO counters (name, value) VALUES ('unfinished', 0);
`;

/** The store itself keeps a run's log within its task's cap. */
const V2 = `
  ALTER TABLE tasks ADD COLUMN output_bytes_max INTEGER NOT NULL DEFAULT 0;
  UPDATE tasks SET output_bytes_max = coalesce(
    (SELECT json_extract(spec, '$.outputBytesMax') FROM specs WHERE specs.serial = tasks.serial), 0);
`;

/** Who submitted a task. */
const V3 = `
  ALTER TABLE specs ADD COLUMN submitter TEXT NOT NULL DEFAULT 'local';
`;

/** Tokens, by the hash of their secrets, and the audit log. */
const V4 = `
  CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    label TEXT NOT NULL,
    can TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL,
    created_by TEXT NOT NULL,
    parent TEXT
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
  ) STRICT;
`;

/** What an operator has drained stays so over restarts. */
const V5 = `
  CREATE TABLE drained_workers (
    peer TEXT PRIMARY KEY,
    since REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/**
 * Ready runs are found by what they require, so that those which no worker can take cost nothing; and finished tasks by
 * their age.
 */
const V6 = `
  CREATE TABLE requirements (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    labels TEXT NOT NULL UNIQUE
  ) STRICT;
  ALTER TABLE tasks ADD COLUMN requirement INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE runs ADD COLUMN requirement INTEGER NOT NULL DEFAULT 0;
  CREATE TEMP TABLE required AS
    SELECT t.serial, (
      SELECT json_group_array(json_array(key, value)) FROM (
        SELECT key, value FROM json_each(s.spec, '$.require') ORDER BY key)) AS labels
    FROM tasks t JOIN specs s ON s.serial = t.serial
    WHERE t.finished_at IS NULL AND json_extract(s.spec, '$.require') NOT IN ('{}');
  INSERT INTO requirements (labels) SELECT DISTINCT labels FROM temp.required ORDER BY labels;
  UPDATE tasks SET requirement = (SELECT number FROM requirements q JOIN temp.required r ON r.labels = q.labels
      WHERE r.serial = tasks.serial)
    WHERE serial IN (SELECT serial FROM temp.required);
  DROP TABLE temp.required;
  UPDATE runs SET requirement = (SELECT requirement FROM tasks WHERE serial = runs.task)
    WHERE outcome IS NULL AND task IN (SELECT serial FROM tasks WHERE requirement > 0);
  DROP INDEX runs_ready;
  CREATE INDEX runs_ready ON runs (requirement, priority DESC, due_at, task, idx)
    WHERE state = 'ready' AND not_before = 0;
  CREATE INDEX tasks_by_requirement ON tasks (requirement) WHERE requirement > 0;
  CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
`;

/**
 * Cron and overlap. `total` is 0 for a task without end; `taken_until` and `owed_until` are a cron task's SlotCursor
 * (`model/schedule.ts`).
 */
const V7 = `
  ALTER TABLE tasks ADD COLUMN cron TEXT;
  ALTER TABLE tasks ADD COLUMN timezone TEXT NOT NULL DEFAULT 'UTC';
  ALTER TABLE tasks ADD COLUMN overlap TEXT NOT NULL DEFAULT 'allow';
  ALTER TABLE tasks ADD COLUMN catchup TEXT NOT NULL DEFAULT 'latest';
  ALTER TABLE tasks ADD COLUMN taken_until REAL NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN owed_until REAL NOT NULL DEFAULT 0;
`;

/**
 * Files. What a task is given stands in its spec; `input_files` says only which blobs it needs. What attempts under way
 * want to keep has arrived, each row with the sums up to it, and moves on to what is kept when they are settled. Rows of a deleted task count for nothing
 * and are removed in pieces.
 */
const V8 = `
  CREATE TABLE input_files (
    task INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (task, digest)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX input_files_by_digest ON input_files (digest);

  CREATE TABLE arrived_files (
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    files_so_far INTEGER NOT NULL,
    bytes_so_far INTEGER NOT NULL,
    PRIMARY KEY (task, run, path)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX arrived_files_in_order ON arrived_files (task, run, files_so_far, bytes_so_far);
  CREATE INDEX arrived_files_by_digest ON arrived_files (digest);

  CREATE TABLE kept_files (
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (task, run, path)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX kept_files_by_digest ON kept_files (digest);
  CREATE INDEX kept_files_by_path ON kept_files (task, path, run);
`;

/** Tasks that run after others (`model/dependency.ts`), and the ends that have not been seen to. */
const V9 = `
  ALTER TABLE tasks ADD COLUMN is_waiting INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN start_after_ms REAL;

  CREATE TABLE dependencies (
    dependency INTEGER NOT NULL,
    dependent INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_at REAL,
    PRIMARY KEY (dependency, dependent)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX dependencies_waiting ON dependencies (dependency, dependent) WHERE state = 'waiting';
  CREATE INDEX dependencies_by_dependent ON dependencies (dependent, state, ended_at);

  CREATE TABLE dependency_ends (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    ended TEXT NOT NULL,
    ended_at REAL,
    reason TEXT
  ) STRICT;
`;

/** Submissions that came with a key (`submission-rows.ts`); and how much there is of what is unfinished, in bytes. */
const V10 = `
  CREATE TABLE submissions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    submitter TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (submitter, key)
  ) STRICT;
  CREATE INDEX submissions_by_age ON submissions (created_at);
  CREATE TABLE submitted_tasks (
    submission INTEGER NOT NULL,
    position INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    told TEXT NOT NULL,
    PRIMARY KEY (submission, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX submitted_tasks_by_serial ON submitted_tasks (serial);
  INSERT INTO counters (name, value) VALUES ('submissions', 0);

  ALTER TABLE tasks ADD COLUMN spec_bytes INTEGER NOT NULL DEFAULT 0;
  UPDATE tasks SET spec_bytes = coalesce(
      (SELECT length(spec) + length(stdin) FROM specs WHERE specs.serial = tasks.serial), 0)
    WHERE state IN ('scheduled', 'ready', 'running');
  INSERT INTO counters (name, value) SELECT 'unfinished_bytes', coalesce(sum(spec_bytes), 0) FROM tasks
    WHERE state IN ('scheduled', 'ready', 'running');
`;

/** Runs of a task that are to run again, and have not been taken up: those from `retry_from` to `retry_to` that did not succeed. */
const V11 = `
  ALTER TABLE tasks ADD COLUMN retry_from INTEGER;
  ALTER TABLE tasks ADD COLUMN retry_to INTEGER;
  CREATE INDEX runs_unsuccessful ON runs (task, idx) WHERE state IN ('failed', 'cancelled');
`;

/**
 * Whose a task is stands in its row too, and how many of each submitter are unfinished in a table of its own; and how many
 * runs are open, in its one row.
 */
const V12 = `
  ALTER TABLE tasks ADD COLUMN submitter TEXT NOT NULL DEFAULT 'local';
  UPDATE tasks SET submitter = (SELECT submitter FROM specs WHERE specs.serial = tasks.serial)
    WHERE serial IN (SELECT serial FROM specs WHERE submitter <> 'local');
  CREATE TABLE submitters (
    submitter TEXT PRIMARY KEY,
    unfinished INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO submitters (submitter, unfinished) SELECT submitter, count(*) FROM tasks
    WHERE finished_at IS NULL GROUP BY submitter;
  CREATE TABLE open_runs (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    scheduled INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    running INTEGER NOT NULL
  ) STRICT;
  INSERT INTO open_runs (id, scheduled, ready, running)
    SELECT 1, coalesce(sum(scheduled), 0), coalesce(sum(ready), 0), coalesce(sum(running), 0) FROM tasks;
`;

/** Modules that came by themselves, with when they were last brought or named; and all modules by their age. */
const V13 = `
  CREATE TABLE held_modules (
    digest TEXT PRIMARY KEY,
    held_at REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX held_modules_by_age ON held_modules (held_at);
  CREATE INDEX modules_by_age ON modules (created_at, digest);
  INSERT INTO counters (name, value) VALUES ('held_modules', 0);
`;

/**
 * What clocks that are put back need. `is_slot` marks runs whose due time is a slot of cron, so that a slot which has fired
 * is found. `seated_at` and `reached_at` are of a cron task's SlotCursor; `seated_at` is there while the task is unfinished, and
 * later than now if the clock was put back since. Where it was put back before this was noted, the next slot itself
 * shows it. `clock_mark` has one row at most: a reading of the wall clock, for the next life.
 */
const V14 = `
  ALTER TABLE runs ADD COLUMN is_slot INTEGER NOT NULL DEFAULT 0;
  UPDATE runs SET is_slot = 1 WHERE task IN (SELECT serial FROM tasks WHERE cron IS NOT NULL);
  CREATE INDEX runs_by_slot ON runs (task, due_at) WHERE is_slot = 1;
  ALTER TABLE tasks ADD COLUMN seated_at REAL;
  ALTER TABLE tasks ADD COLUMN reached_at REAL NOT NULL DEFAULT 0;
  UPDATE tasks SET seated_at = taken_until WHERE cron IS NOT NULL AND finished_at IS NULL;
  CREATE INDEX tasks_seated ON tasks (seated_at) WHERE seated_at IS NOT NULL;
  CREATE TABLE clock_mark (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at REAL NOT NULL
  ) STRICT;
`;

/** Tasks without end, and which of their runs have not been forgotten. */
const V15 = `
  ALTER TABLE tasks ADD COLUMN first_run INTEGER NOT NULL DEFAULT 1;
  CREATE INDEX tasks_endless ON tasks (serial) WHERE total = 0 AND finished_at IS NULL;
`;

export const MIGRATIONS: readonly Migration[] = [
  { version: 1, sql: V1 },
  { version: 2, sql: V2 },
  { version: 3, sql: V3 },
  { version: 4, sql: V4 },
  { version: 5, sql: V5 },
  { version: 6, sql: V6 },
  { version: 7, sql: V7 },
  { version: 8, sql: V8 },
  { version: 9, sql: V9 },
  { version: 10, sql: V10 },
  { version: 11, sql: V11 },
  { version: 12, sql: V12 },
  { version: 13, sql: V13 },
  { version: 14, sql: V14 },
  { version: 15, sql: V15 },
];
