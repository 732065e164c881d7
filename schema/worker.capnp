@0xb2f1c0a96d3e5a03;
# A worker, and the runs it carries out.
#
# An attempt belongs to its worker, not to a call or a connection: losing the connection never stops a guest. Only
# `Run.cancel`, the gateway's refusal in `WorkerSession.resume` or `.renew`, and the end of the lease do.

using Module = import "module.capnp".Module;

interface Worker {
  # The authority to use one slot of a worker, once.

  run @0 (spec :RunSpec, module :Module, output :Output, files :Files) -> (run :Run);
  # Starts the attempt and returns at once; pipeline `Run.outcome` on the answer. The worker reads from `module` only
  # when it has no module of that digest, and verifies what it reads; likewise from `files`. `module` is null when the spec
  # names no module, and `files` when it names no files. Fails with `overloaded` when the slot is used up.
}

interface Files {
  # The contents of the files in one run's spec, by their digests, and of nothing else. Held by the worker until it has
  # what it needs.

  read @0 (digest :Data, offset :UInt64, length :UInt32) -> (bytes :Data);
  # As `Module.read`. A digest that the spec does not name fails with `failed`, code `no-such-file`.
}

interface Run {
  # One attempt under way, or finished and not yet acknowledged.

  outcome @0 () -> (outcome :Outcome);
  # Returns when the guest has ended, all of its output has been acknowledged, and all files to keep of it have been kept.
  # Idempotent; finishing this call early does not cancel the attempt.
  # Fails with `overloaded`, code `handed-back`, when the worker gives the attempt back unfinished (it stops, or its lease
  # ended): nobody's fault, to be tried elsewhere.

  cancel @1 () -> ();
  # Ends the guest within 100 ms; the outcome is then `cancelled`, unless it had ended before. Idempotent.

  acknowledge @2 () -> ();
  # The outcome is durable, or will never be wanted: the worker forgets the attempt. Idempotent.
}

interface Output {
  # Where the output of one attempt goes. stdout and stderr are one log in arrival order.

  write @0 (offset :UInt64, stream :Stream, bytes :Data) -> (durableOffset :UInt64);
  # `offset` counts this attempt's log bytes, both streams together, from 0. Returns when the bytes are durable; all
  # below `durableOffset` is. Bytes below it are ignored when sent again; an offset past it, which would leave a gap,
  # fails with `failed`. At most 256 KiB a call, and one call in flight per attempt: waiting for the answer is the flow
  # control.

  keep @1 (path :Text, digest :Data, bytes :UInt64) -> (content :FileContent);
  # A file to keep of the attempt, after its guest has exited, with whatever code: one whose path matches a glob of
  # `RunSpec.outputs`. `content` is null when the gateway has the file, and then this is durable; otherwise the worker
  # sends the bytes to it. Files count once the attempt is settled as `exited` and its run is over, and only then.
  # Idempotent: a worker that lost its connection keeps all files again, and sends what is missing. Another file under
  # the same path fails with `failed`, code `file-conflict`; more than 1,000 files or 64 MiB, `too-large`; a path that no
  # glob matches, `not-wanted`; an attempt that is over, `stale-attempt`.
}

interface FileContent {
  # The bytes of one file on their way to the gateway. Dropped before `finish` has returned, nothing stays of it.

  write @0 (bytes :Data) -> ();
  # Appends at most 1 MiB. Calls are carried out in their order, so that a few may be in flight; waiting for answers is
  # the flow control. More bytes than were announced fail with `failed`, code `file-corrupt`.

  finish @1 () -> ();
  # All has been written. Returns when the file is durable; bytes that do not have the digest that was announced fail
  # with `failed`, code `file-corrupt`. Idempotent.
}

enum Stream { stdout @0; stderr @1; }

struct AttemptId {
  task @0 :Text;
  run @1 :UInt32;      # from 1
  attempt @2 :UInt32;  # from 1; the fencing token
  serial @3 :UInt64;   # of the task in the gateway's store, never used twice: a deleted task's name may be
}

struct RunSpec {
  id @0 :AttemptId;
  moduleDigest @1 :Data;    # SHA-256, 32 bytes; empty, with a `custom` entry only: there is no module
  moduleBytes @2 :UInt64;
  entry :union {
    command @3 :Void;       # `_start`
    run :group {            # `run(i32, i32) -> i32`
      input @4 :Int32;
      difficulty @5 :Int32;
    }
    component @6 :Void;     # `wasi:cli/run`
    custom @20 :Text;       # a kind of the worker's own (`WorkerState.kinds`); the module is then any bytes, or none
  }
  args @7 :List(Text);      # argv[1..]
  env @8 :List(EnvVar);
  stdin @9 :Data;
  timeoutMs @10 :UInt64;    # wall time, from when a runner has the guest
  cpuMs @11 :UInt64;        # not held for a `custom` entry, as memoryBytes
  memoryBytes @12 :UInt64;
  outputBytesMax @13 :UInt64;
  outputLimit @14 :OutputLimit;
  leaseMs @15 :UInt64;      # the guest is stopped when the worker could not renew for this long
  submitter @16 :Text;      # whose task it is; guests of different submitters never share a process. At most 128 characters
  files @17 :List(File);    # in the guest's `/` when it starts: at most 1,000, and 64 MiB together
  outputs @18 :List(Text);  # globs: which of its files are kept once it has exited; src/model/glob.ts has their syntax
  traceparent @19 :Text;    # W3C Trace Context of this call, for workers that trace; empty, or no such text: there is none
}

struct File {
  path @0 :Text;            # names joined by single slashes, none of them `.` or `..`; at most 1,024 bytes
  digest @1 :Data;          # SHA-256, 32 bytes
  bytes @2 :UInt64;
}

struct EnvVar { name @0 :Text; value @1 :Text; }
enum OutputLimit { truncate @0; fail @1; }

struct Outcome {
  union {
    exited @0 :Int64;              # exit code
    trapped @1 :Text;              # reason
    timedOut @2 :Text;             # which limit: wall or CPU time
    memoryExceeded @3 :Text;
    outputExceeded @4 :Void;
    cancelled @5 :Text;            # reason
    rejected @6 :Text;             # why the module was not run
    lost @7 :Text;                 # the runner or worker went away under it
  }
  value :union {
    none @8 :Void;
    i32 @9 :UInt32;                # what an exported `run` returned, as unsigned
  }
  usage @10 :Usage;
  outputBytes @11 :UInt64;         # of this attempt, as kept: the log's length
  outputTruncated @12 :Bool;
  outputExceededBy @13 :Text;      # of `outputExceeded`: what there was too much of; empty: stdout and stderr
}

struct Usage {
  wallMs @0 :Float64;
  cpuMs @1 :Float64;
  memoryBytes @2 :UInt64;          # peak of the guest's linear memory
}

struct WorkerState {
  # What a worker says of itself: shown to people, and looked at by the pick policies.
  slots @0 :UInt32;
  busy @1 :UInt32;
  weight @2 :UInt32;
  labels @3 :List(EnvVar);
  version @4 :Text;
  cachedModules @5 :Data;          # their SHA-256s, 32 bytes each, one after the other, most recently used first; at most 64
  kinds @6 :List(Text);
  # What it can run: names of entries (command, run, component), and of kinds of its own, each of [a-z][a-z0-9-]{0,31}; at
  # most 64. Empty: the three of WebAssembly. A gateway gives a worker no run of a kind that it does not have.
}
