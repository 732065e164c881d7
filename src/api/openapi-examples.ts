/** Whole requests and answers for the API's description: the hash puzzle of the README, and what is said about it. */
import type { RunJson } from "./run-json.ts";
import type { TaskJson } from "./task-json.ts";
import type { WorkerJson } from "./worker-json.ts";

const MODULE = "2c7c730820915076d51f6bb64ad02540c053ba7816c0aeee8442b8e6c6d87cec";
const WORKER = "12D3KooWRmoYB2aA3exFXqK8FqdBcTncySm9ssJWqrVNjD6Ds3A8";

/** Of `POST /tasks`; text but for the file, as a form has it. */
export const SUBMISSION_EXAMPLE = {
  wasm: "(the bytes of hash.wasm)",
  id: "task1",
  description: "Hash puzzle",
  duration: "5",
  start: "1",
  delay: "2s",
  repeats: "3",
  input: "0",
  difficulty: "3",
};

const RESULT = { value: "2832", stdout: "", stderr: "", exitCode: 0 };

export const TASK_EXAMPLE: TaskJson = {
  id: "task1",
  wasm: null,
  module: MODULE,
  kind: "core",
  entry: "run",
  description: "Hash puzzle",
  submitter: "local",
  state: "scheduled",
  complete: 1,
  completions: 1,
  runs: 3,
  progress: 0.3333,
  nextRunAt: "2030-01-31T12:00:03.000Z",
  createdAt: "2030-01-31T12:00:00.000Z",
  finishedAt: null,
  result: RESULT,
  reason: null,
  duration: 5,
  start: 1,
  delay: 2,
  repeats: 3,
  cron: null,
  timezone: "UTC",
  overlap: "allow",
  catchup: "latest",
  after: [],
  input: 0,
  difficulty: 3,
  args: [],
  env: {},
  stdin: "",
  stdinBytes: 0,
  files: [],
  outputs: [],
  timeout: 300,
  cpu: 300,
  memory: 256,
  outputMax: 1_048_576,
  outputLimit: "truncate",
  retries: 0,
  backoff: 1,
  retryOn: ["exited", "trapped", "timed-out", "memory-exceeded"],
  priority: 0,
  require: {},
};

export const RUN_EXAMPLE: RunJson = {
  task: "task1",
  index: 1,
  state: "succeeded",
  dueAt: "2030-01-31T12:00:01.000Z",
  attempts: [
    {
      number: 1,
      worker: WORKER,
      state: "succeeded",
      startedAt: "2030-01-31T12:00:01.004Z",
      finishedAt: "2030-01-31T12:00:01.017Z",
      outcome: { kind: "exited", code: 0 },
    },
  ],
  outcome: { kind: "exited", code: 0 },
  result: RESULT,
  usage: { wallMs: 8, cpuMs: 8, memoryBytes: 131_072 },
  outputBytes: 0,
  outputTruncated: false,
  files: [],
};

export const WORKER_EXAMPLE: WorkerJson = {
  id: WORKER,
  status: "ready",
  slots: 2,
  busy: 1,
  running: 1,
  offers: 1,
  weight: 1,
  labels: { host: "pi4", os: "linux", arch: "arm64", zone: "eu" },
  version: "0.1.0",
  kinds: ["command", "run", "component"],
  cachedModules: [MODULE],
  address: "/ip4/192.0.2.7/tcp/40112",
  connectedAt: "2030-01-31T11:00:00.000Z",
  lastSeenAt: "2030-01-31T12:00:01.000Z",
  note: null,
};

/** Two lines of `POST /tasks/batch`. */
export const BATCH_EXAMPLE = `{"module":"${MODULE}","id":"fetch"}\n{"module":"${MODULE}","id":"report","after":["fetch"]}\n`;
