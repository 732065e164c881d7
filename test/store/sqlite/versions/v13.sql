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
  , output_bytes_max INTEGER NOT NULL DEFAULT 0, requirement INTEGER NOT NULL DEFAULT 0, cron TEXT, timezone TEXT NOT NULL DEFAULT 'UTC', overlap TEXT NOT NULL DEFAULT 'allow', catchup TEXT NOT NULL DEFAULT 'latest', taken_until REAL NOT NULL DEFAULT 0, owed_until REAL NOT NULL DEFAULT 0, is_waiting INTEGER NOT NULL DEFAULT 0, start_after_ms REAL, spec_bytes INTEGER NOT NULL DEFAULT 0, retry_from INTEGER, retry_to INTEGER, submitter TEXT NOT NULL DEFAULT 'local') STRICT;
CREATE TABLE specs (
    serial INTEGER PRIMARY KEY,
    spec TEXT NOT NULL,
    stdin BLOB NOT NULL
  , submitter TEXT NOT NULL DEFAULT 'local') STRICT;
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
    result TEXT, requirement INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, idx)
  ) STRICT, WITHOUT ROWID;
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
CREATE TABLE drained_workers (
    peer TEXT PRIMARY KEY,
    since REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
CREATE TABLE requirements (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    labels TEXT NOT NULL UNIQUE
  ) STRICT;
CREATE TABLE input_files (
    task INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (task, digest)
  ) STRICT, WITHOUT ROWID;
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
CREATE TABLE kept_files (
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (task, run, path)
  ) STRICT, WITHOUT ROWID;
CREATE TABLE dependencies (
    dependency INTEGER NOT NULL,
    dependent INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_at REAL,
    PRIMARY KEY (dependency, dependent)
  ) STRICT, WITHOUT ROWID;
CREATE TABLE dependency_ends (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    ended TEXT NOT NULL,
    ended_at REAL,
    reason TEXT
  ) STRICT;
CREATE TABLE submissions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    submitter TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (submitter, key)
  ) STRICT;
CREATE TABLE submitted_tasks (
    submission INTEGER NOT NULL,
    position INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    told TEXT NOT NULL,
    PRIMARY KEY (submission, position)
  ) STRICT, WITHOUT ROWID;
CREATE TABLE submitters (
    submitter TEXT PRIMARY KEY,
    unfinished INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
CREATE TABLE open_runs (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    scheduled INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    running INTEGER NOT NULL
  ) STRICT;
CREATE TABLE held_modules (
    digest TEXT PRIMARY KEY,
    held_at REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
INSERT INTO "tasks" VALUES (1, 'ready', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 3, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'ready', 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, NULL, NULL, NULL, 1048576, 1, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 590, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (2, 'ready-anywhere', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'ready', 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, NULL, NULL, NULL, 1048576, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 580, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (3, 'scheduled', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000060000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'scheduled', 0, 1, 0, 0, 0, 0, 0, 1, 1800000060000.0, NULL, NULL, NULL, NULL, 1048576, 1, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 588, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (4, 'repeated', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 1000.0, 3, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'scheduled', 0, 1, 0, 0, 1, 0, 0, 2, 1800000001000.0, NULL, NULL, 1, 1, 1048576, 2, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 573, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (5, 'running', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'running', 0, 0, 0, 1, 0, 0, 0, 1, NULL, NULL, NULL, NULL, 1, 8, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 556, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (6, 'lost-once', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'running', 0, 0, 0, 1, 0, 0, 0, 1, NULL, NULL, NULL, NULL, 1, 1048576, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 564, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (7, 'backing-off', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 2, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'ready', 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, NULL, NULL, 1, 1048576, 3, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 577, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (8, 'succeeded', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'succeeded', 0, 0, 0, 0, 1, 0, 0, 1, NULL, 1800000000010.0, NULL, 1, 1, 1048576, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 576, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (9, 'failed', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'failed', 0, 0, 0, 0, 0, 1, 0, 1, NULL, 1800000000010.0, '"trapped: unreachable"', 1, 1, 1048576, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 561, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (10, 'cancelled', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 1, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1800000000000.0, 'cancelled', 1, 0, 0, 0, 0, 0, 1, 1, NULL, 1800000000005.0, '"enough"', NULL, NULL, 1048576, 0, NULL, 'UTC', 'allow', 'latest', 1800000000000.0, 0.0, 0, 0.0, 564, NULL, NULL, 'local');
INSERT INTO "tasks" VALUES (11, 'recurring', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1800000000000.0, 0.0, 0, 0, 0, 1000.0, 'exited,trapped,timed-out,memory-exceeded', 1799996400000.0, 'scheduled', 0, 1, 0, 0, 1, 0, 0, 2, 1799997600000.0, NULL, NULL, 1, 1, 1048576, 0, '*/10 * * * *', 'UTC', 'allow', 'latest', 1799997600000.0, 0.0, 0, 0.0, 586, NULL, NULL, 'local');
INSERT INTO "sqlite_sequence" VALUES ('requirements', 3);
INSERT INTO "sqlite_sequence" VALUES ('tasks', 11);
INSERT INTO "specs" VALUES (1, '{"id":"ready","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":3,"require":{"zone":"eu","gpu":"a\"b"}}', X'696E00707574', 'local');
INSERT INTO "specs" VALUES (2, '{"id":"ready-anywhere","description":"café \u0000","module":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (3, '{"id":"scheduled","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000060000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{"zone":"eu","gpu":"a\"b"}}', X'', 'local');
INSERT INTO "specs" VALUES (4, '{"id":"repeated","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":1000,"repeats":3,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{"b":"2"}}', X'', 'local');
INSERT INTO "specs" VALUES (5, '{"id":"running","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":8,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (6, '{"id":"lost-once","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (7, '{"id":"backing-off","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":2,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{"zone":"us"}}', X'', 'local');
INSERT INTO "specs" VALUES (8, '{"id":"succeeded","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":["a b"],"env":{"A":"1"},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (9, '{"id":"failed","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (10, '{"id":"cancelled","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":1,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{}}', X'', 'local');
INSERT INTO "specs" VALUES (11, '{"id":"recurring","description":"","module":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","kind":"core","entry":"command","args":[],"env":{},"files":[],"outputs":[],"complete":0,"durationMs":0,"firstDueAt":1800000000000,"start":0,"delayMs":0,"repeats":0,"timezone":"UTC","overlap":"allow","catchup":"latest","after":[],"timeoutMs":300000,"cpuMs":300000,"memoryBytes":268435456,"outputBytesMax":1048576,"outputLimit":"truncate","retries":0,"backoffMs":1000,"retryOn":["exited","trapped","timed-out","memory-exceeded"],"priority":0,"require":{},"cron":"*/10 * * * *"}', X'', 'local');
INSERT INTO "runs" VALUES (1, 1, 'ready', 1800000000000.0, 3, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 1);
INSERT INTO "runs" VALUES (2, 1, 'ready', 1800000000000.0, 0, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO "runs" VALUES (3, 1, 'scheduled', 1800000060000.0, 0, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 1);
INSERT INTO "runs" VALUES (4, 1, 'succeeded', 1800000000000.0, 0, 0.0, 1, 0, 0, NULL, 1800000000000.0, NULL, 0, 0, 0, '{"kind":"exited","code":0}', 12.5, 11.0, 65536.0, '{"stdout":"","stderr":"","exitCode":0}', 2);
INSERT INTO "runs" VALUES (4, 2, 'scheduled', 1800000001000.0, 0, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 2);
INSERT INTO "runs" VALUES (5, 1, 'running', 1800000000000.0, 0, 0.0, 1, 0, 0, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 1800000000000.0, 1800000015000.0, 8, 0, 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO "runs" VALUES (6, 1, 'running', 1800000000000.0, 0, 0.0, 2, 0, 1, '12D3KooWBxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 1800000000020.0, 1800000015000.0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO "runs" VALUES (7, 1, 'ready', 1800000000000.0, 0, 1800000000760.0, 1, 1, 0, NULL, 1800000000000.0, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 3);
INSERT INTO "runs" VALUES (8, 1, 'succeeded', 1800000000000.0, 0, 0.0, 1, 0, 0, NULL, 1800000000000.0, NULL, 5, 0, 0, '{"kind":"exited","code":0}', 12.5, 11.0, 65536.0, '{"value":"42","stdout":"done\n","stderr":"","exitCode":0}', 0);
INSERT INTO "runs" VALUES (9, 1, 'failed', 1800000000000.0, 0, 0.0, 1, 0, 0, NULL, 1800000000000.0, NULL, 0, 0, 0, '{"kind":"trapped","reason":"unreachable"}', 12.5, 11.0, 65536.0, '{"stdout":"","stderr":""}', 0);
INSERT INTO "runs" VALUES (10, 1, 'cancelled', 1800000000000.0, 0, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, '{"kind":"cancelled","reason":"enough"}', NULL, NULL, NULL, NULL, 0);
INSERT INTO "runs" VALUES (11, 1, 'succeeded', 1799997000000.0, 0, 0.0, 1, 0, 0, NULL, 1799997000000.0, NULL, 0, 0, 0, '{"kind":"exited","code":0}', 12.5, 11.0, 65536.0, '{"stdout":"","stderr":"","exitCode":0}', 0);
INSERT INTO "runs" VALUES (11, 2, 'scheduled', 1799997600000.0, 0, 0.0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO "attempts" VALUES (4, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'succeeded', 1800000000000.0, 1800000000010.0, '{"kind":"exited","code":0}');
INSERT INTO "attempts" VALUES (5, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'running', 1800000000000.0, NULL, NULL);
INSERT INTO "attempts" VALUES (6, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'lost', 1800000000000.0, 1800000000010.0, '{"kind":"lost","reason":"the connection closed"}');
INSERT INTO "attempts" VALUES (6, 1, 2, '12D3KooWBxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'running', 1800000000020.0, NULL, NULL);
INSERT INTO "attempts" VALUES (7, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'failed', 1800000000000.0, 1800000000010.0, '{"kind":"exited","code":1}');
INSERT INTO "attempts" VALUES (8, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'succeeded', 1800000000000.0, 1800000000010.0, '{"kind":"exited","code":0}');
INSERT INTO "attempts" VALUES (9, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'failed', 1800000000000.0, 1800000000010.0, '{"kind":"trapped","reason":"unreachable"}');
INSERT INTO "attempts" VALUES (11, 1, 1, '12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'succeeded', 1799997000000.0, 1799997000010.0, '{"kind":"exited","code":0}');
INSERT INTO "output" VALUES (1, 5, 1, 0, 1, '3,-5,', X'6F75746572726F72');
INSERT INTO "output" VALUES (2, 8, 1, 0, 1, '5,', X'646F6E650A');
INSERT INTO "modules" VALUES ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', '{"kind":"core","bytes":123,"codeBytes":45,"imports":[{"module":"wasi_snapshot_preview1","name":"fd_write","kind":"function"}],"exports":[{"name":"run","kind":"function","signature":"(i32,i32)->(i32)"}],"memories":[{"minPages":1,"isShared":false,"is64":false,"isImported":false}],"tables":[],"hasStartFunction":false}', 1800000000000.0);
INSERT INTO "modules" VALUES ('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '{"kind":"core","bytes":123,"codeBytes":45,"imports":[{"module":"wasi_snapshot_preview1","name":"fd_write","kind":"function"}],"exports":[{"name":"run","kind":"function","signature":"(i32,i32)->(i32)"}],"memories":[{"minPages":1,"isShared":false,"is64":false,"isImported":false}],"tables":[],"hasStartFunction":false}', 1800000000000.0);
INSERT INTO "admissions" VALUES ('12D3KooWAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'admitted', 1800000000000.0);
INSERT INTO "admissions" VALUES ('12D3KooWBxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'barred', 1800000000000.0);
INSERT INTO "counters" VALUES ('held_modules', 0);
INSERT INTO "counters" VALUES ('submissions', 0);
INSERT INTO "counters" VALUES ('unfinished', 8);
INSERT INTO "counters" VALUES ('unfinished_bytes', 4614);
INSERT INTO "requirements" VALUES (1, '[["gpu","a\"b"],["zone","eu"]]');
INSERT INTO "requirements" VALUES (2, '[["b","2"]]');
INSERT INTO "requirements" VALUES (3, '[["zone","us"]]');
INSERT INTO "submitters" VALUES ('local', 8);
INSERT INTO "open_runs" VALUES (1, 3, 3, 2);
CREATE INDEX tasks_by_state ON tasks (state, serial);
CREATE INDEX tasks_by_module ON tasks (module);
CREATE INDEX runs_scheduled ON runs (due_at) WHERE state = 'scheduled';
CREATE INDEX runs_backing_off ON runs (not_before) WHERE state = 'ready' AND not_before > 0;
CREATE INDEX runs_open ON runs (task, idx) WHERE outcome IS NULL;
CREATE INDEX runs_running ON runs (task, started_at) WHERE state = 'running';
CREATE INDEX runs_leased ON runs (lease_until) WHERE state = 'running';
CREATE UNIQUE INDEX output_by_start ON output (task, run, start);
CREATE INDEX runs_ready ON runs (requirement, priority DESC, due_at, task, idx)
    WHERE state = 'ready' AND not_before = 0;
CREATE INDEX tasks_by_requirement ON tasks (requirement) WHERE requirement > 0;
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX input_files_by_digest ON input_files (digest);
CREATE INDEX arrived_files_in_order ON arrived_files (task, run, files_so_far, bytes_so_far);
CREATE INDEX arrived_files_by_digest ON arrived_files (digest);
CREATE INDEX kept_files_by_digest ON kept_files (digest);
CREATE INDEX kept_files_by_path ON kept_files (task, path, run);
CREATE INDEX dependencies_waiting ON dependencies (dependency, dependent) WHERE state = 'waiting';
CREATE INDEX dependencies_by_dependent ON dependencies (dependent, state, ended_at);
CREATE INDEX submissions_by_age ON submissions (created_at);
CREATE INDEX submitted_tasks_by_serial ON submitted_tasks (serial);
CREATE INDEX runs_unsuccessful ON runs (task, idx) WHERE state IN ('failed', 'cancelled');
CREATE INDEX held_modules_by_age ON held_modules (held_at);
CREATE INDEX modules_by_age ON modules (created_at, digest);
PRAGMA application_id = 1131433320;
PRAGMA user_version = 13;
