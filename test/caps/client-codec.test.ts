/** Submissions and states of tasks survive the wire; what a submission says is what a form would say. */
import { Message } from "capnp-es";
import { expect, test } from "vitest";
import { parseSubmission } from "../../src/api/submission.ts";
import type { Digest } from "../../src/base/ids.ts";
import {
  type Submission,
  type TaskStatus,
  decodeSubmission,
  decodeTaskStatus,
  encodeSubmission,
  encodeTaskStatus,
} from "../../src/caps/client-codec.ts";
import { Submission as WireSubmission, TaskStatus as WireTaskStatus } from "../../src/generated/client.ts";
import { TASK_STATES } from "../../src/model/task.ts";
import { digest } from "../store/store-samples.ts";
import { fc } from "../support/properties.ts";

const RUNS = { numRuns: 300 };
const NOW = Date.UTC(2030, 0, 1);

/** Text that a Cap'n Proto text can carry. */
const text = (maxLength: number) => fc.string({ unit: "binary", maxLength }).filter((value) => value.isWellFormed());
const argument = text(40).filter((value) => !value.includes("\0"));
const name = argument.filter((value) => value !== "" && !value.includes("="));
const ms = (max = 1_000_000) => fc.integer({ min: 0, max });

function over(submission: Submission) {
  const written = new Message();
  encodeSubmission(written.initRoot(WireSubmission), submission);
  const read = new Message(written.toArrayBuffer(), false);
  return decodeSubmission(read.getRoot(WireSubmission));
}

const submissions: fc.Arbitrary<Submission> = fc.record(
  {
    module: fc.oneof(fc.constant<Digest>(digest("b")), fc.uint8Array({ minLength: 1, maxLength: 100 })),
    id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,50}$/),
    description: text(100),
    entry: fc.constantFrom("command", "run", "component"),
    run: fc.record({ input: fc.integer(), difficulty: fc.integer() }),
    args: fc.array(argument, { minLength: 1, maxLength: 5 }),
    env: fc.dictionary(name, argument, { minKeys: 1, maxKeys: 5 }),
    stdin: fc.uint8Array({ maxLength: 100 }),
    start: ms(),
    delayMs: ms(),
    repeats: fc.integer({ min: 0, max: 1_000 }),
    durationMs: ms(),
    complete: ms(),
    timeoutMs: fc.integer({ min: 1, max: 1_000_000 }),
    cpuMs: fc.integer({ min: 1, max: 1_000_000 }),
    memoryMiB: fc.integer({ min: 1, max: 4_096 }),
    outputBytesMax: ms(),
    outputLimit: fc.constantFrom("truncate", "fail"),
    retries: fc.integer({ min: 0, max: 1_000 }),
    backoffMs: ms(),
    retryOn: fc.subarray(["exited", "trapped", "timed-out", "memory-exceeded"], { minLength: 1 }),
    priority: fc.integer({ min: -100, max: 100 }),
    require: fc.dictionary(name, argument, { minKeys: 1, maxKeys: 3 }),
    overlap: fc.constantFrom("allow", "forbid"),
    after: fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9]{1,9}-$/), { minLength: 1, maxLength: 5 }),
  },
  { requiredKeys: ["module"] },
);

test("a submission is parsed as it was meant, and what it leaves out as a form would have it", () => {
  fc.assert(
    fc.property(submissions, (submission) => {
      const { texts, stdin, moduleBytes } = over(submission);
      const { module, run, memoryMiB, start, ...rest } = submission;
      if (typeof module === "string") expect(moduleBytes).toBeUndefined();
      else expect(moduleBytes).toEqual(Uint8Array.from(module ?? []));
      const hasModuleFile = moduleBytes !== undefined;
      const parsed = parseSubmission({ texts, stdinFile: stdin, hasModuleFile, now: NOW });
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
      const empty = new Map(hasModuleFile ? [] : [["module", [String(module)]]]);
      const plain = parseSubmission({ texts: empty, hasModuleFile, now: NOW });
      if (!plain.ok) throw new Error(JSON.stringify(plain.errors));
      const { entry: wantedEntry, timeoutMs = plain.submission.timeoutMs, ...fields } = rest;
      expect(parsed.submission).toEqual({
        ...plain.submission,
        cpuMs: timeoutMs,
        ...fields,
        ...(fields.retryOn && { retryOn: parsed.submission.retryOn }),
        wantedEntry,
        timeoutMs,
        input: run?.input,
        difficulty: run?.difficulty,
        start: { afterMs: start ?? 0 },
        memoryBytes: (memoryMiB ?? 256) * 1024 * 1024,
        stdin: Uint8Array.from(submission.stdin ?? []),
      });
      expect(new Set(parsed.submission.retryOn)).toEqual(new Set(submission.retryOn ?? plain.submission.retryOn));
    }),
    RUNS,
  );
});

test("a submission with cron is parsed as it was meant", () => {
  const cron = fc.record(
    {
      module: fc.constant(digest("b")),
      cron: fc.constantFrom("* * * * *", "0 30 2 * * MON-FRI", "@daily"),
      timezone: fc.constantFrom("Europe/Berlin", "UTC"),
      catchup: fc.constantFrom("latest", "all", "none"),
      repeats: fc.integer({ min: 0, max: 9 }),
    },
    { requiredKeys: ["module", "cron"] },
  );
  fc.assert(
    fc.property(cron, (submission) => {
      const parsed = parseSubmission({ texts: over(submission).texts, hasModuleFile: false, now: NOW });
      const { timezone = "UTC", catchup = "latest", repeats = 0 } = submission;
      expect(parsed).toMatchObject({ ok: true, submission: { cron: submission.cron, timezone, catchup, repeats } });
    }),
    { numRuns: 50 },
  );
  const both = over({ module: digest(), cron: "* * * * *", start: 1, delayMs: 1 });
  expect(parseSubmission({ texts: both.texts, hasModuleFile: false, now: NOW })).toMatchObject({
    ok: false,
    errors: [{ field: "start" }, { field: "delay" }],
  });
});

test("a submission's key is carried beside its fields", () => {
  expect(over({ module: digest(), idempotencyKey: "k1" }).idempotencyKey).toBe("k1");
  expect(over({ module: digest() }).idempotencyKey).toBeUndefined();
});

test("a time is taken as one", () => {
  const { texts } = over({ module: digest(), start: "2031-01-01T00:00:00Z" });
  const parsed = parseSubmission({ texts, hasModuleFile: false, now: NOW });
  expect(parsed).toMatchObject({ ok: true, submission: { start: { at: Date.UTC(2031, 0, 1) } } });
});

test("a submission of nothing is refused for want of a module", () => {
  const { texts, moduleBytes } = decodeSubmission(new Message().initRoot(WireSubmission));
  expect(moduleBytes).toBeUndefined();
  const parsed = parseSubmission({ texts, hasModuleFile: false, now: NOW });
  expect(parsed).toMatchObject({ ok: false, errors: [{ field: "module" }] });
});

test("the state of a task survives the wire", () => {
  const count = fc.nat();
  const time = fc.integer({ min: 1, max: 2 ** 48 });
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
  const result = fc.record({
    value: optional(fc.nat().map(String)),
    stdout: text(50),
    stderr: text(50),
    exitCode: optional(fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 })),
  });
  const statuses: fc.Arbitrary<TaskStatus> = fc.record({
    id: fc.stringMatching(/^[A-Za-z0-9]{1,20}$/),
    state: fc.constantFrom(...TASK_STATES),
    reason: optional(text(50).filter((reason) => reason !== "")),
    completions: count,
    runs: count,
    succeeded: count,
    failed: count,
    cancelled: count,
    progress: fc.double({ min: 0, max: 1, noNaN: true }),
    createdAt: time,
    nextRunAt: optional(time),
    finishedAt: optional(time),
    result: optional(result),
  });
  fc.assert(
    fc.property(statuses, (status) => {
      const written = new Message();
      encodeTaskStatus(written.initRoot(WireTaskStatus), status);
      const read = new Message(written.toArrayBuffer(), false).getRoot(WireTaskStatus);
      expect(decodeTaskStatus(read)).toEqual(status);
    }),
    RUNS,
  );
});
