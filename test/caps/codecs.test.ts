/** Each value that crosses the wire, there and back through real messages; and values that no honest peer sends. */
import { afterEach, describe, expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import {
  ARGS_MAX,
  HELD_ATTEMPTS_MAX,
  INPUT_FILES_MAX,
  LABELS_MAX,
  MODULES_ADVERTISED_MAX,
  OUTPUT_GLOBS_MAX,
  OUTPUT_CHUNK_BYTES_MAX,
  REASON_LENGTH_MAX,
  SUBMITTER_LENGTH_MAX,
  SLOTS_MAX,
} from "../../src/base/limits.ts";
import {
  BootstrapClient,
  type Credential,
  NONCE_BYTES,
  serveBootstrap,
  type Verdict,
} from "../../src/caps/bootstrap.ts";
import { serveOfferSender } from "../../src/caps/channel-facets.ts";
import { serveModule } from "../../src/caps/module.ts";
import { OfferSenderClient } from "../../src/caps/offers.ts";
import { OutputClient, serveOutput } from "../../src/caps/output.ts";
import { RunClient, type RunTarget, serveRun } from "../../src/caps/run.ts";
import { serveWorker, WorkerClient } from "../../src/caps/worker.ts";
import {
  type HeldAttempt,
  type ResumeVerdict,
  serveWorkerSession,
  WorkerSessionClient,
  type WorkerSessionTarget,
} from "../../src/caps/worker-session.ts";
import {
  Bootstrap$Client,
  type ResumeVerdict as WireVerdict,
  WorkerSession$Client,
} from "../../src/generated/bootstrap.ts";
import { OfferSender$Client, type OfferSender_Send$Params } from "../../src/generated/channel.ts";
import { Module$Client } from "../../src/generated/module.ts";
import { WASM_ENTRIES, parseCustomKind } from "../../src/model/entry.ts";
import {
  Output$Client,
  Run$Client,
  type File as WireFile,
  type RunSpec as WireRunSpec,
  Worker$Client,
} from "../../src/generated/worker.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { RunSpec } from "../../src/model/run-spec.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { type Capability, setCapability } from "../../src/rpc/capability.ts";
import { serve } from "../../src/rpc/server.ts";
import { VatPair } from "../rpc/vats.ts";
import { digestOf, taskId } from "../worker/gateway-parts.ts";
import { fc } from "../support/properties.ts";

const RUNS = { numRuns: 150 };
const REFUSED = { type: "failed", code: "invalid-message" };

let pairs: VatPair[] = [];
afterEach(async () => {
  const open = pairs;
  pairs = [];
  for (const pair of open) await pair[Symbol.asyncDispose]();
});

/** The capability as the other end of a connection has it. */
function over(capability: Capability): Capability {
  const pair = new VatPair(capability);
  pairs.push(pair);
  return pair.main.dup();
}

const uint = fc.oneof(fc.nat(), fc.maxSafeNat());
const u32 = fc.oneof(fc.nat(9), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const text = fc.string({ unit: "grapheme", maxLength: 40 });
const digest = fc.uint8Array({ maxLength: 8 }).map(digestOf);
const pairsOf = (max: number) =>
  fc.dictionary(fc.oneof(text, fc.constantFrom("__proto__", "constructor", "toString")), text, { maxKeys: max });

const attemptIds: fc.Arbitrary<AttemptId> = fc.record({
  task: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/).map(taskId),
  serial: uint,
  run: u32.map((value) => Math.max(1, value)),
  attempt: u32.map((value) => Math.max(1, value)),
});

const filePaths = fc.stringMatching(/^[a-zé][a-z.é]{0,9}(\/[a-zé][a-z.é]{0,9}){0,3}$/);

const kinds = fc
  .stringMatching(/^[a-z][a-z0-9-]{0,31}$/)
  .map(parseCustomKind)
  .filter((kind) => kind !== undefined);

const specs: fc.Arbitrary<RunSpec> = fc
  .record({
    id: attemptIds,
    module: digest,
    moduleBytes: uint,
    entry: fc.oneof(
      fc.constant({ kind: "command" as const }),
      fc.constant({ kind: "component" as const }),
      fc.record({ kind: fc.constant("run" as const), input: fc.integer(), difficulty: fc.integer() }),
      fc.record({ kind: fc.constant("custom" as const), name: kinds }),
    ),
    args: fc.array(text, { maxLength: 5 }),
    env: pairsOf(5),
    stdin: fc.uint8Array(),
    timeoutMs: uint,
    cpuMs: uint,
    memoryBytes: uint,
    outputBytesMax: uint,
    outputLimit: fc.constantFrom("truncate", "fail"),
    leaseMs: uint,
    submitter: fc.string({ maxLength: SUBMITTER_LENGTH_MAX }),
    files: fc.uniqueArray(fc.record({ path: filePaths, digest, bytes: fc.nat(1_000_000) }), {
      selector: ({ path }) => path,
      maxLength: 5,
    }),
    outputs: fc.array(fc.constantFrom("**", "out/*.txt", "[!a]?", "é"), { maxLength: 3 }),
  })
  // Only a kind of a worker's own does without a module.
  .map((spec) =>
    spec.entry.kind === "custom" && spec.args.length === 0 ? { ...spec, module: undefined, moduleBytes: 0 } : spec,
  );

const reason = fc.oneof(text, fc.constant("é".repeat(REASON_LENGTH_MAX)));
const outcomes: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record({ kind: fc.constant("exited" as const), code: fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }) }),
  fc.constant({ kind: "output-exceeded" as const }),
  fc.record({ kind: fc.constant("output-exceeded" as const), reason: fc.string({ minLength: 1, maxLength: 20 }) }),
  fc.record({
    kind: fc.constantFrom("trapped", "timed-out", "memory-exceeded", "cancelled", "rejected", "lost"),
    reason,
  }),
);
const measure = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true });
const ends: fc.Arbitrary<AttemptEnd> = fc.record({
  outcome: outcomes,
  value: fc.option(u32.map(String), { nil: undefined }),
  usage: fc.record({ wallMs: measure, cpuMs: measure, memoryBytes: uint }),
  outputBytes: uint,
  outputTruncated: fc.boolean(),
});
const states: fc.Arbitrary<WorkerState> = fc
  .record({
    slots: fc.integer({ min: 0, max: SLOTS_MAX }),
    busy: fc.nat(SLOTS_MAX),
    weight: u32,
    labels: pairsOf(LABELS_MAX),
    version: text,
    kinds: fc.option(fc.array(fc.oneof(fc.constantFrom(...WASM_ENTRIES), kinds), { minLength: 1, maxLength: 8 }), {
      nil: undefined,
    }),
    cachedModules: fc.array(digest, { maxLength: MODULES_ADVERTISED_MAX }),
  })
  .map((state) => ({ ...state, busy: Math.min(state.busy, state.slots) }));

function runOf(end: AttemptEnd): RunTarget {
  return { outcome: async () => end, cancel() {}, acknowledge() {} };
}

const END: AttemptEnd = {
  outcome: { kind: "exited", code: 0 },
  usage: { wallMs: 0, cpuMs: 0, memoryBytes: 0 },
  outputBytes: 0,
  outputTruncated: false,
};
const STATE: WorkerState = { slots: 1, busy: 0, weight: 1, labels: {}, version: "1", cachedModules: [] };

/** A capability that means nothing. */
const nothing = () => serveModule({ read: async () => new Uint8Array(0) });

describe("what crosses the wire arrives as it was sent", () => {
  test("a run's specification", async () => {
    let got: RunSpec | undefined;
    using worker = new WorkerClient(
      over(
        serveWorker({
          run: (spec, module, output) => {
            got = spec;
            module[Symbol.dispose]();
            output[Symbol.dispose]();
            return runOf(END);
          },
        }),
      ),
    );
    await fc.assert(
      fc.asyncProperty(specs, async (spec) => {
        using capability = nothing();
        using run = worker.run(spec, capability, capability, spec.files.length > 0 ? capability : undefined);
        await run.outcome();
        expect(got).toEqual(spec);
        expect(Object.keys(got?.env ?? {}).sort()).toEqual(Object.keys(spec.env).sort());
      }),
      RUNS,
    );
  });

  test("an attempt's end", async () => {
    let end = END;
    using run = new RunClient(over(serveRun({ ...runOf(END), outcome: async () => end })));
    await fc.assert(
      fc.asyncProperty(ends, async (sent) => {
        end = sent;
        expect(await run.outcome()).toEqual(sent);
      }),
      RUNS,
    );
  });

  test("a worker's state", async () => {
    let got: WorkerState | undefined;
    const send = async ({ worker, state }: { worker: Capability; state: WorkerState }) => {
      got = state;
      worker[Symbol.dispose]();
    };
    using sender = new OfferSenderClient(over(serveOfferSender({ send })));
    await fc.assert(
      fc.asyncProperty(states, async (state) => {
        using worker = nothing();
        await sender.send(worker, state);
        expect(got).toEqual(state);
      }),
      RUNS,
    );
  });

  test("credentials and verdicts on them", async () => {
    let got: Credential | undefined;
    let verdict: Verdict<Capability> = { kind: "refused", reason: "" };
    using bootstrap = new BootstrapClient(
      over(
        serveBootstrap({
          challenge: () => new Uint8Array(NONCE_BYTES).fill(7),
          login: async (credential) => {
            got = credential;
            return verdict;
          },
        }),
      ),
    );
    expect(await bootstrap.challenge()).toEqual(new Uint8Array(NONCE_BYTES).fill(7));
    const nonce = fc.uint8Array({ minLength: NONCE_BYTES, maxLength: NONCE_BYTES });
    const credentials: fc.Arbitrary<Credential> = fc.oneof(
      fc.constant({ kind: "none" as const }),
      fc.record({ kind: fc.constant("join" as const), workerNonce: nonce, proof: nonce }),
    );
    const kinds = fc.constantFrom<"admitted" | "pending" | "refused">("admitted", "pending", "refused");
    await fc.assert(
      fc.asyncProperty(credentials, kinds, reason, nonce, async (credential, kind, why, proof) => {
        verdict = kind === "admitted" ? { kind, session: nothing(), proof } : { kind, reason: why };
        const answer = await bootstrap.login(credential, STATE);
        if (answer.kind === "admitted") answer.session[Symbol.dispose]();
        expect(got).toEqual(credential);
        expect(answer).toMatchObject(kind === "admitted" ? { kind, proof } : { kind, reason: why });
      }),
      RUNS,
    );
    verdict = { kind: "refused", reason: "x".repeat(2 * REASON_LENGTH_MAX) };
    expect(await bootstrap.login({ kind: "none" }, STATE)).toEqual({
      kind: "refused",
      reason: "x".repeat(REASON_LENGTH_MAX),
    });
  });

  test("held attempts, verdicts on them, and attempts to stop", async () => {
    let got: readonly { id: AttemptId; outputOffset: number }[] = [];
    let offsets: readonly (number | string)[] = [];
    const target: WorkerSessionTarget = {
      offers: () => ({ sender: nothing(), leaseMs: 1, renewEveryMs: 2 }),
      resume: async (held: readonly HeldAttempt<RunClient>[]) => {
        got = held.map(({ id, outputOffset }) => ({ id, outputOffset }));
        for (const { run } of held) run[Symbol.dispose]();
        return offsets.map((offset): ResumeVerdict<Capability> =>
          typeof offset === "number" ? { kind: "adopt", output: nothing(), offset } : { kind: "stop", reason: offset },
        );
      },
      renew: async (ids) => ids,
      drain() {},
    };
    using session = new WorkerSessionClient(over(serveWorkerSession(target)));
    const entry = fc.record({ id: attemptIds, outputOffset: uint, verdict: fc.oneof(uint, text) });
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 20 }), async (entries) => {
        offsets = entries.map(({ verdict }) => verdict);
        using run = nothing();
        const verdicts = await session.resume(entries.map(({ id, outputOffset }) => ({ id, outputOffset, run })));
        expect(got).toEqual(entries.map(({ id, outputOffset }) => ({ id, outputOffset })));
        expect(verdicts.map((each) => (each.kind === "adopt" ? each.offset : each.reason))).toEqual(offsets);
        for (const each of verdicts) if (each.kind === "adopt") each.output[Symbol.dispose]();
        const ids = entries.map(({ id }) => id);
        expect(await session.renew(ids, STATE)).toEqual(ids);
      }),
      RUNS,
    );
  });
});

/** Calls `run` with a specification that is right but for what `spoil` does. */
async function runWith(spoil: (spec: WireRunSpec) => void, task = "a", digestBytes = 32): Promise<unknown> {
  let isReached = false;
  using worker = over(
    serveWorker({
      run: (_spec, module, output) => {
        isReached = true;
        module[Symbol.dispose]();
        output[Symbol.dispose]();
        throw failed("reached");
      },
    }),
  );
  using capability = nothing();
  using answer = worker.call(Worker$Client.methods[0], (params) => {
    const spec = params._initSpec();
    const id = spec._initId();
    id.task = task;
    id.run = 1;
    id.attempt = 1;
    spec._initModuleDigest(digestBytes);
    spoil(spec);
    setCapability(params, 1, capability);
    setCapability(params, 2, capability);
  });
  const error: unknown = await answer.result().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return isReached ? "reached" : error;
}

describe("what no honest peer sends is refused", () => {
  test("in a run's specification", async () => {
    expect(await runWith(() => {})).toBe("reached");
    const spoilers: ((spec: WireRunSpec) => void)[] = [
      (spec) => (spec.id.run = 0),
      (spec) => (spec.id.attempt = 0),
      (spec) => (spec.id.serial = 2n ** 64n - 1n),
      (spec) => (spec.moduleBytes = 2n ** 53n),
      (spec) => (spec.timeoutMs = 2n ** 63n),
      (spec) => (spec.leaseMs = 2n ** 64n - 1n),
      (spec) => void spec._initArgs(ARGS_MAX + 1),
      (spec) => void spec._initEnv(2_000),
      (spec) => void spec._initStdin(9 * 1024 * 1024),
      (spec) => void spec._initFiles(1),
      (spec) => (spec._initFiles(1).get(0).path = "../a"),
      (spec) => void spec._initFiles(INPUT_FILES_MAX + 1),
      (spec) => initFile(spec._initFiles(1).get(0), "a", 2n ** 40n),
      (spec) => {
        const files = spec._initFiles(2);
        for (const index of [0, 1]) initFile(files.get(index), "a", 1n);
      },
      // There is nowhere to read it.
      (spec) => initFile(spec._initFiles(1).get(0), "a", 1n),
      (spec) => spec._initOutputs(1).set(0, "a/"),
      (spec) => void spec._initOutputs(OUTPUT_GLOBS_MAX + 1),
      // @ts-expect-error The wire allows any 16 bits here.
      (spec) => (spec.outputLimit = 7),
    ];
    for (const spoil of spoilers) expect(await runWith(spoil)).toMatchObject(REFUSED);
    for (const bytes of [0, 31, 33]) expect(await runWith(() => {}, "a", bytes)).toMatchObject(REFUSED);
    for (const task of ["../x", "", "x".repeat(129)]) expect(await runWith(() => {}, task)).toMatchObject(REFUSED);
  });

  test("a run without a module or an output", async () => {
    using worker = over(
      serveWorker({
        run: () => {
          throw failed("reached");
        },
      }),
    );
    using capability = nothing();
    for (const index of [1, 2]) {
      using answer = worker.call(Worker$Client.methods[0], (params) => {
        const spec = params._initSpec();
        const id = spec._initId();
        id.task = "a";
        id.run = 1;
        id.attempt = 1;
        spec._initModuleDigest(32);
        setCapability(params, index, capability);
      });
      await expect(answer.result()).rejects.toMatchObject(REFUSED);
    }
  });

  test("in an attempt's end", async () => {
    const outcomeOf = (code: bigint, wallMs: number, text = "") =>
      serve(Run$Client, {
        outcome: (_params, results) => {
          const wire = results._initOutcome();
          if (text === "") wire.exited = code;
          else wire.lost = text;
          wire._initUsage().wallMs = wallMs;
        },
        cancel() {},
        acknowledge() {},
      });
    const hostile = [
      outcomeOf(2n ** 32n, 1),
      outcomeOf(-(2n ** 31n) - 1n, 1),
      outcomeOf(0n, Number.NaN),
      outcomeOf(0n, -1),
      outcomeOf(0n, Number.POSITIVE_INFINITY),
      outcomeOf(0n, 1, "x".repeat(REASON_LENGTH_MAX + 1)),
    ];
    for (const capability of hostile) {
      using run = new RunClient(over(capability));
      await expect(run.outcome()).rejects.toMatchObject(REFUSED);
    }
  });

  test("in an offer", async () => {
    using sender = over(
      serveOfferSender({
        send: async ({ worker }) => {
          worker[Symbol.dispose]();
          throw failed("reached");
        },
      }),
    );
    const spoiled = async (spoil: (params: OfferSender_Send$Params) => void) => {
      using worker = nothing();
      using answer = sender.call(OfferSender$Client.methods[0], (params) => {
        setCapability(params, 0, worker);
        spoil(params);
      });
      await expect(answer.result()).rejects.toMatchObject(REFUSED);
    };
    await spoiled((params) => (params._initState().slots = SLOTS_MAX + 1));
    await spoiled((params) => void params._initState()._initLabels(LABELS_MAX + 1));
    await spoiled((params) => void params._initState()._initCachedModules(33));
    await spoiled((params) => void params._initState()._initCachedModules(32 * (MODULES_ADVERTISED_MAX + 1)));
    await spoiled((params) => (params._initState().version = "x".repeat(1_000)));
    await spoiled((params) => setCapability(params, 0, undefined));
  });

  test("in output", async () => {
    let writes = 0;
    using output = over(serveOutput({ write: async () => ++writes, keep: async () => void ++writes }));
    const [WRITE] = Output$Client.methods;
    using unknown = output.call(WRITE, (params) => {
      // @ts-expect-error The wire allows any 16 bits here.
      params.stream = 2;
    });
    await expect(unknown.result()).rejects.toMatchObject(REFUSED);
    using large = output.call(WRITE, (params) => void params._initBytes(OUTPUT_CHUNK_BYTES_MAX + 1));
    await expect(large.result()).rejects.toMatchObject(REFUSED);
    using far = output.call(WRITE, (params) => (params.offset = 2n ** 60n));
    await expect(far.result()).rejects.toMatchObject(REFUSED);
    const [, KEEP] = Output$Client.methods;
    for (const path of ["", "/a", "../a", "a//b", "a/./b", "x".repeat(2_000)]) {
      using kept = output.call(KEEP, (params) => {
        params.path = path;
        params._initDigest(32);
      });
      await expect(kept.result()).rejects.toMatchObject(REFUSED);
    }
    using short = output.call(KEEP, (params) => {
      params.path = "a";
      params._initDigest(31);
    });
    await expect(short.result()).rejects.toMatchObject(REFUSED);
    expect(writes).toBe(0);
    using client = new OutputClient(
      over(
        serve(Output$Client, {
          write: (_params, results) => void (results.durableOffset = 2n ** 60n),
          keep: () => {},
        }),
      ),
    );
    await expect(client.write(0, "stdout", new Uint8Array(1))).rejects.toMatchObject(REFUSED);
  });

  test("from where a module's bytes come", async () => {
    using module = over(serveModule({ read: async () => new Uint8Array(1) }));
    using answer = module.call(Module$Client.methods[0], (params) => (params.offset = 2n ** 60n));
    await expect(answer.result()).rejects.toMatchObject(REFUSED);
  });

  test("on logging in", async () => {
    using bootstrap = over(
      serveBootstrap({
        challenge: () => new Uint8Array(NONCE_BYTES),
        login: async () => {
          throw failed("reached");
        },
      }),
    );
    using answer = bootstrap.call(Bootstrap$Client.methods[1], (params) => {
      const join = params._initCredential()._initJoin();
      join._initWorkerNonce(NONCE_BYTES + 1);
    });
    await expect(answer.result()).rejects.toMatchObject(REFUSED);
  });

  test("in held attempts, of which none is kept", async () => {
    using session = over(
      serveWorkerSession({
        offers: () => ({ sender: nothing(), leaseMs: 1, renewEveryMs: 2 }),
        resume: async () => {
          throw failed("reached");
        },
        renew: async () => [],
        drain() {},
      }),
    );
    const [, RESUME, RENEW] = WorkerSession$Client.methods;
    using run = nothing();
    using answer = session.call(RESUME, (params) => {
      const list = params._initAttempts(3);
      for (const index of [0, 1, 2]) {
        setCapability(list.get(index), 1, run);
        const id = list.get(index)._initId();
        id.task = index === 2 ? "no/such" : "a";
        id.run = 1;
        id.attempt = 1;
      }
    });
    await expect(answer.result()).rejects.toMatchObject(REFUSED);
    using many = session.call(RESUME, (params) => void params._initAttempts(HELD_ATTEMPTS_MAX + 1));
    await expect(many.result()).rejects.toMatchObject(REFUSED);
    using renewal = session.call(RENEW, (params) => void params._initAttempts(HELD_ATTEMPTS_MAX + 1));
    await expect(renewal.result()).rejects.toMatchObject(REFUSED);
  });

  test("in verdicts, of which none is kept", async () => {
    const answering = (count: number, spoil: (verdict: WireVerdict) => void) =>
      serve(WorkerSession$Client, {
        offers() {},
        resume: (_params, results) => {
          const list = results._initVerdicts(count);
          for (let index = 0; index < count; index++) {
            using output = nothing();
            if (index === 0) setCapability(list.get(index)._initAdopt(), 0, output);
            if (index > 0) spoil(list.get(index));
          }
        },
        renew() {},
        drain() {},
      });
    const held = [1, 2].map((serial) => ({ id: { task: taskId("a"), serial, run: 1, attempt: 1 }, outputOffset: 0 }));
    const hostile = [
      answering(1, () => {}),
      answering(3, () => {}),
      answering(2, (verdict) => (verdict._initAdopt().offset = 2n ** 60n)),
      answering(2, () => {}),
      answering(2, (verdict) => (verdict.stop = "x".repeat(REASON_LENGTH_MAX + 1))),
    ];
    for (const capability of hostile) {
      using session = new WorkerSessionClient(over(capability));
      using run = nothing();
      const resumed = session.resume(held.map((each) => ({ ...each, run })));
      await expect(resumed).rejects.toMatchObject(REFUSED);
    }
    using senderless = new WorkerSessionClient(over(answering(0, () => {})));
    await expect(senderless.offers()).rejects.toMatchObject(REFUSED);
  });
});

function initFile(wire: WireFile, path: string, bytes: bigint): void {
  wire.path = path;
  wire._initDigest(32);
  wire.bytes = bytes;
}
