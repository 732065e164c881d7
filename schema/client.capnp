@0xb2f1c0a96d3e5a05;
# What a client holds: the authority to submit tasks, to watch them and to end them.
#
# A client gets a `ClientSession` from `Bootstrap.loginClient`. It can neither offer workers nor receive offers.
#
# What a session can do is its grant's: `read` is to find tasks, `submit` to submit, to upload and to cancel tasks that were
# found, `admin` all of it. Whoever submitted a task may do with it whatever `Task` has. The rest is refused: `forbidden`.
#
# Authority is a reference. A `Task` is the authority over that one task and may be given to somebody who holds nothing
# else; it stands for the task as it was submitted, not for its name, which may be used again once the task is deleted.
# Ordering: calls on one capability are begun in the order in which they were made.
# Lifetime: a task belongs to the gateway, and goes on when every capability to it is gone. A connection on which no
# session, upload or task of a client is held any more is a stranger's again, and has the time of one to log in.
# Failure: a refusal is an exception of type `failed`; its code, that of the same refusal over HTTP, stands at the end of
# the reason in square brackets: `invalid-field`, `module-rejected`, `id-taken`, `no-such-task`, `already-finished`,
# `too-large`. `overloaded` means to come back later (`queue-full`, `rate-limited`, `not-ready`, `too-many-uploads`,
# `too-many-sessions`), `disconnected` to connect and log in again. The gateway accepts a task when `submit` returns: from
# then on it is on disk, and not lost.

using EnvVar = import "worker.capnp".EnvVar;
using OutputLimit = import "worker.capnp".OutputLimit;
using Stream = import "worker.capnp".Stream;

interface ClientSession {
  submit @0 (submission :Submission) -> (task :Task, id :Text);
  # Returns when the task is durable. Pipeline `Task.outcome` on it: one round trip from submission to result.
  # The connection lost meanwhile, the task may or may not have been accepted; with an `id` of one's own, `find` tells, and
  # with an `idempotencyKey` the submission may be sent again: it is accepted once.

  find @1 (id :Text) -> (task :Task);
  # The task that has this id now.

  upload @2 () -> (upload :Upload);
  # Begins a module that is too large for one message. At most 8 uploads are held at once.

  narrow @3 (can :List(Text)) -> (session :ClientSession);
  # A session that holds no more than `can`, of what this one holds: `read`, `submit`, `admin`. It ends when the token
  # does by which this one was opened, and lives on when this one is dropped: hand it to somebody who may do less.
  # At most 64 are held on one connection at once, those that were opened by logging in included.

  uploadFile @4 () -> (upload :Upload);
  # Begins an input file. Of these and of modules together at most 8 are unfinished at once; finished, at most 1,000 files
  # of 256 MiB together are held on one connection.

  events @5 (after :Text) -> (events :List(Event), last :Text);
  # What has changed since the event that `after` names, oldest first; empty: from now on. Returns when there is something
  # to tell, at most 256 events. `last` names the latest of them, to ask with next. An `after` that is too old, or of
  # another process of the gateway, is answered by a `reset`. Needs `read`.
}

struct Event {
  # Something changed, and is stored. It may be told twice.
  type @0 :EventType;
  task @1 :Text;                    # of a task, run or attempt
  run @2 :UInt32;                   # of a run or attempt, from 1
  attempt @3 :UInt32;               # from 1; 0: the run has none yet
  worker @4 :Text;                  # of a worker or attempt
  state @5 :Text;                   # the new one, by its name over HTTP
  reason @6 :Text;                  # of an attempt
}

enum EventType { reset @0; task @1; run @2; attempt @3; worker @4; }
# `reset`: events were missed: read everything anew.

interface Upload {
  # A module or an input file on its way. Dropped before `finish`, nothing stays of it; after, its bytes stay while a task
  # uses them.

  write @0 (bytes :Data) -> ();
  # Appends at most 1 MiB; a module, and a file, has at most 64 MiB. Returns when more is welcome: waiting for the answer is the flow
  # control. After one that failed, every later call fails.

  finish @1 () -> (digest :Data);
  # Nothing more is written. Inspects the module, makes it durable and returns its SHA-256 (32 bytes), which `submit` takes
  # as `module.digest` for as long as this capability is held or a task uses the module. A file is not inspected; `submit`
  # on the same connection takes it as `files.digest` for as long as this capability is held. Idempotent.
}

interface Task {
  outcome @0 () -> (status :TaskStatus);
  # Returns when the task has finished, at once if it has. Finishing this call early does not cancel the task. A task that
  # is deleted meanwhile fails it with `no-such-task`.

  status @1 () -> (status :TaskStatus);
  # As it is now.

  cancel @2 () -> (status :TaskStatus);
  # Cancels every run that has not finished; guests under way end within 100 ms. Durable when it returns. A task that has
  # finished fails it with `already-finished`.

  retry @3 () -> (status :TaskStatus);
  # Its failed and cancelled runs run again, and their attempts go on counting. Durable when it returns. Fails with
  # `not-finished`, with `nothing-to-retry` where all have succeeded, and with `dependency-failed` where a task that it
  # runs after has not.

  log @4 (run :UInt32, offset :UInt64, follow :Bool) -> (page :LogPage);
  # What a run has written to stdout and stderr, in the order in which it came over all its attempts, from byte `offset` of
  # it on: a page of 64 KiB at most. `run` 0 is the run that started last. With `follow` the call returns when there is
  # something to tell: more output, or the run's end; without, at once. To read on, ask for the answer's run and
  # `nextOffset`: one page at a time, at the reader's own pace. A run that there is not fails with `no-such-run`.
}

struct LogPage {
  run @0 :UInt32;                   # from 1; 0: none has started
  pieces @1 :List(LogPiece);
  nextOffset @2 :UInt64;
  isEnd @3 :Bool;                   # nothing follows: the run is over or, without `follow`, has written no more yet
  isTruncated @4 :Bool;             # the guest wrote more than was kept; said with `isEnd`
}

struct LogPiece {
  stream @0 :Stream;
  attempt @1 :UInt32;               # from 1
  offset @2 :UInt64;                # in the run's log
  bytes @3 :Data;
}

struct Submission {
  # The fields of `POST /tasks`, under the same limits and with the same defaults.
  id @0 :Text;                      # 1 to 128 of [A-Za-z0-9._-], the first a letter or digit; empty: one is made
  description @1 :Text;
  module :union {
    digest @2 :Data;                # SHA-256, 32 bytes: a module that a task uses, or that is uploaded
    bytes @3 :Data;                 # the module itself, at most 1 MiB
  }
  entry @4 :Entry;
  arguments :union {                # of an exported `run(i32, i32) -> i32`
    none @5 :Void;
    run :group {                    # given, they select that entry
      input @6 :Int32;
      difficulty @7 :Int32;
    }
  }
  args @8 :List(Text);              # argv[1..]
  env @9 :List(EnvVar);             # a name given twice has its last value
  stdin @10 :Data;                  # at most 8 MiB
  start :union {                    # when the first run is due
    afterMs @11 :UInt64;            # after it is accepted
    at @12 :Text;                   # RFC 3339
  }
  delayMs @13 :UInt64;              # run n is due (n-1) * delay after the first
  repeats @14 :UInt32 = 1;          # runs in total; 0 means 1, and with `cron`: until it is cancelled
  durationMs @15 :UInt64;           # expected of a run, for the progress estimate; 0: not said
  complete @16 :UInt64;             # where the completion counter starts
  timeoutMs @17 :UInt64 = 300000;   # wall time of one attempt
  cpuMs @18 :UInt64;                # CPU time of one attempt; 0: as `timeoutMs`
  memoryMiB @19 :UInt32 = 256;
  outputBytesMax @20 :UInt64 = 1048576;
  outputLimit @21 :OutputLimit;
  retries @22 :UInt32;
  backoffMs @23 :UInt64 = 1000;
  retryOn @24 :List(Text);          # outcomes by their names over HTTP; empty: all that may be tried again
  priority @25 :Int32;
  require @26 :List(EnvVar);        # worker labels that must hold
  cron @27 :Text;                   # 5 or 6 fields: when runs are due, instead of `start` and `delayMs`, which are then 0
  timezone @28 :Text;               # of `cron`, an IANA name; empty: UTC
  overlap @29 :Overlap;
  catchup @30 :Catchup;
  after @31 :List(Text);            # ids of tasks that have to succeed first; `start` counts from then
  idempotencyKey @32 :Text;         # 1 to 255 printable ASCII characters: the same submission with the same key, within a day,
                                    # is the same task; another one fails with `idempotency-mismatch`. Empty: none
  files @33 :List(InputFile);       # in the guest's `/`; at most 1,000, and 64 MiB together
  outputs @34 :List(Text);          # globs: which of its files are kept of each run; at most 32
  kind @35 :Text;                   # in place of `entry`: a kind that workers have of their own. Then `module` is any bytes,
                                    # or an empty digest: none; `cpuMs` and `memoryMiB` are left as they are
}

struct InputFile {
  path @0 :Text;                    # where the guest finds it: names joined by single slashes, none of them `..`
  union {
    digest @1 :Data;                # SHA-256, 32 bytes: a file that is uploaded, and held
    kept :group {                   # a file kept of another task
      task @2 :Text;
      run @3 :UInt32;               # from 1; 0: the latest run that kept it
      path @4 :Text;
    }
  }
}

enum Overlap { allow @0; forbid @1; }
# `forbid`: a run is ready at the later of its due time and the end of the one before it.

enum Catchup { latest @0; all @1; none @2; }
# What becomes of slots of `cron` that no gateway served: the latest is made up for, all are, or none is.

enum Entry { chosen @0; command @1; run @2; component @3; }
# `chosen`: what fits the module and the arguments.

enum TaskState { scheduled @0; ready @1; running @2; succeeded @3; failed @4; cancelled @5; }
# The last three are final.

struct TaskStatus {
  # Times are milliseconds since the Unix epoch; 0: none.
  id @0 :Text;
  state @1 :TaskState;
  reason @2 :Text;                  # why it ended as it did, where there is something to say
  completions @3 :UInt64;
  runs @4 :UInt32;                  # in total; 0: without end
  succeeded @5 :UInt32;             # of them
  failed @6 :UInt32;
  cancelled @7 :UInt32;
  progress @8 :Float64;             # 0 to 1
  createdAtMs @9 :UInt64;
  nextRunAtMs @10 :UInt64;
  finishedAtMs @11 :UInt64;
  result :union {                   # of the run that finished last
    none @12 :Void;
    some :group {
      value @13 :Text;              # what an exported `run` returned, as unsigned decimal text; empty: nothing
      stdout @14 :Text;             # the first 64 KiB; all of it is in the run's log
      stderr @15 :Text;
      exitCode :union {
        none @16 :Void;
        code @17 :Int64;
      }
    }
  }
}
