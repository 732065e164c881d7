import { describe, expect, test } from "vitest";
import { type Submission, type SubmissionResult, parseSubmission, taskSpec } from "../../src/api/submission.ts";
import { parseDigest } from "../../src/base/ids.ts";
import { STRANGERS_TOLD_MAX } from "../../src/base/limits.ts";
import { RETRYABLE_KINDS } from "../../src/model/task.ts";
import { taskId } from "../support/api-gateway.ts";
import { fc } from "../support/properties.ts";

const NOW = Date.UTC(2026, 10, 22, 10);

function parse(fields: Readonly<Record<string, string | readonly string[]>>, stdinFile?: Uint8Array): SubmissionResult {
  const texts = new Map(Object.entries(fields).map(([name, value]) => [name, [value].flat()]));
  return parseSubmission({ texts, hasModuleFile: !("module" in fields), stdinFile, now: NOW });
}

function accepted(fields: Parameters<typeof parse>[0], stdinFile?: Uint8Array): Submission {
  const result = parse(fields, stdinFile);
  if (!result.ok) throw new Error(JSON.stringify(result.errors));
  return result.submission;
}

function refusal(fields: Parameters<typeof parse>[0], stdinFile?: Uint8Array): string {
  const result = parse(fields, stdinFile);
  return result.ok ? "accepted" : result.errors.map(({ field, message }) => `${field} ${message}`).join("; ");
}

describe("a submission without fields", () => {
  test("has the defaults of the contract", () => {
    expect(accepted({})).toEqual({
      id: undefined,
      module: undefined,
      wantedEntry: undefined,
      description: "",
      input: undefined,
      difficulty: undefined,
      args: [],
      env: {},
      stdin: new Uint8Array(),
      complete: 0,
      durationMs: 0,
      start: { afterMs: 0 },
      delayMs: 0,
      repeats: 1,
      cron: undefined,
      timezone: "UTC",
      overlap: "allow",
      catchup: "latest",
      after: [],
      files: [],
      outputs: [],
      timeoutMs: 300_000,
      cpuMs: 300_000,
      memoryBytes: 256 * 1024 * 1024,
      outputBytesMax: 1024 * 1024,
      outputLimit: "truncate",
      retries: 0,
      backoffMs: 1_000,
      retryOn: RETRYABLE_KINDS,
      priority: 0,
      require: {},
    });
  });
});

describe("a field", () => {
  test.each<[string, Parameters<typeof parse>[0], Partial<Submission>]>([
    ["cpu follows timeout", { timeout: "2s" }, { timeoutMs: 2_000, cpuMs: 2_000 }],
    ["cpu stands by itself", { timeout: "2s", cpu: "500ms" }, { cpuMs: 500 }],
    [
      "int32 has both ends",
      { input: "-2147483648", difficulty: "2147483647" },
      { input: -(2 ** 31), difficulty: 2 ** 31 - 1 },
    ],
    ["memory is in MiB", { memory: "64" }, { memoryBytes: 64 * 1024 * 1024 }],
    ["args repeat", { args: ["a", "b=c", ""] }, { args: ["a", "b=c", ""] }],
    ["args are JSON", { args: '["a b", "[c]"]' }, { args: ["a b", "[c]"] }],
    ["env repeats, and the last wins", { env: ["A=1", "B=x=y", "A=2"] }, { env: { A: "2", B: "x=y" } }],
    ["env is a JSON object", { env: '{"A":"1","B":""}' }, { env: { A: "1", B: "" } }],
    ["env is a JSON array", { env: '["A=1"]' }, { env: { A: "1" } }],
    ["env has numbers", { env: '{"A":1,"B":-0.5}' }, { env: { A: "1", B: "-0.5" } }],
    ["args has numbers", { args: '[1,"2",1e-7]' }, { args: ["1", "2", "1e-7"] }],
    ["a label is required", { require: ["os=linux", "gpu=yes"] }, { require: { os: "linux", gpu: "yes" } }],
    ["a label is required twice alike", { require: ["a=b", "a=b"] }, { require: { a: "b" } }],
    ["retryOn narrows", { retryOn: ["trapped,exited"] }, { retryOn: ["exited", "trapped"] }],
    ["overlap may be forbidden", { overlap: "forbid" }, { overlap: "forbid" }],
    [
      "cron has no end",
      { cron: "*/5 * * * *" },
      { cron: "*/5 * * * *", repeats: 0, timezone: "UTC", catchup: "latest" },
    ],
    [
      "cron has its fields",
      { cron: " @daily ", repeats: "3", timezone: "europe/berlin", catchup: "all" },
      { cron: "@daily", repeats: 3, timezone: "Europe/Berlin", catchup: "all" },
    ],
    ["cron takes what start and delay are without it", { cron: "@daily", start: "0", delay: "0s" }, { cron: "@daily" }],
    ["a time may be the start", { start: "2030-01-31T12:00:00Z" }, { start: { at: Date.UTC(2030, 0, 31, 12) } }],
    ["repeats may be 0", { repeats: "0" }, { repeats: 0 }],
    ["stdin may be text", { stdin: "hé" }, { stdin: new TextEncoder().encode("hé") }],
    ["a digest may be in capitals", { module: "AB".repeat(32) }, { module: parseDigest("ab".repeat(32)) }],
  ])("%s", (_, fields, expected) => expect(accepted(fields)).toMatchObject(expected));

  test.each([
    ["start=abc", { start: "abc" }, /^start is "abc", and seconds from now, a duration .* or a time .* is expected$/],
    ["repeats=-1", { repeats: "-1" }, /^repeats is "-1", and a whole number from 0 to 1000000000 is expected$/],
    [
      "a large difficulty",
      { difficulty: "99999999999" },
      /^difficulty is "99999999999", and a whole number from -2147483648/,
    ],
    ["input=1.5", { input: "1.5" }, /^input is "1.5"/],
    ["input=0x10", { input: "0x10" }, /^input is "0x10"/],
    ["an empty number", { input: "" }, /^input is empty: give it a value, or leave the field out$/],
    ["a field given twice", { start: ["1", "2"] }, /^start is given 2 times: give it once$/],
    ["timeout=0", { timeout: "0" }, /^timeout is "0", and more than 0 is expected$/],
    ["delay=400d", { delay: "400d" }, /^delay is "400d", and at most 366 days is expected$/],
    ["memory=0", { memory: "0" }, /^memory is "0", and a whole number from 1 to 4096 is expected$/],
    ["outputMax", { outputMax: "999999999999" }, /^outputMax is .* from 0 to 268435456 is expected$/],
    ["priority", { priority: "101" }, /^priority is .* from -100 to 100/],
    [
      "entry",
      { entry: "Main" },
      /^entry is "Main", and command, run, component, or a kind of a worker's own is expected/,
    ],
    ["a slip in an entry", { entry: "comand" }, /^entry is "comand": did you mean command\?/],
    ["memory for a kind", { entry: "resize", memory: "64" }, /^memory cannot be held for entry=resize/],
    ["cpu for a kind", { entry: "resize", cpu: "5" }, /^cpu cannot be held for entry=resize/],
    ["input for a kind", { entry: "resize", input: "1" }, /^input is an argument of a module's run/],
    ["id", { id: "-x" }, /^id is "-x", and 1 to 128 letters/],
    ["env", { env: "A" }, /^env has "A", and KEY=VALUE is expected$/],
    ["env without a name", { env: "=1" }, /^env has "=1", and KEY=VALUE/],
    [
      "env of null",
      { env: '{"A":null}' },
      /^env has a value of "A" that is neither text nor a number: put it in quotes$/,
    ],
    ["env of a boolean", { env: '{"A":true}' }, /^env has a value of "A" that is neither text nor a number/],
    ["env of an object", { env: '{"A":{}}' }, /^env has a value of "A" that is neither text nor a number/],
    ["env of half a character", { env: '{"A":"\\ud800"}' }, /^env has a value of "A" that is no valid Unicode$/],
    ["args of a boolean", { args: "[1,true]" }, /^args is "\[1,true\]", in which a value is neither text nor a number/],
    ["args of lists", { args: "[[]]" }, /^args is "\[\[\]\]", in which a value is neither text nor a number/],
    [
      "args of huge numbers",
      { args: "[9007199254740993]" },
      /in which a value is a number with more digits than are kept/,
    ],
    ["args of endless numbers", { args: "[1e400]" }, /in which a value is a number with more digits than are kept/],
    ["args that are no array", { args: "[1" }, /^args is "\[1", which is no JSON array of strings and numbers: write/],
    ["a zero byte", { args: ["a\0b"] }, /^args has a zero byte/],
    ["retryOn", { retryOn: "lost" }, /^retryOn has "lost", and one of exited/],
    ["no module", { module: [] }, /^wasm is missing: send the module as a file, as in -F wasm=@task.wasm$/],
    ["wasm as text", { wasm: "@x" }, /^wasm came as text: send it as a file/],
    ["a short digest", { module: "abc" }, /^module is "abc", and a SHA-256 of 64 hex digits is expected$/],
    ["overlap", { overlap: "never" }, /^overlap is "never", and one of allow, forbid is expected$/],
    ["cron", { cron: "61 * * * *" }, /^cron cannot be read \(.*61.*\): five fields are/],
    ["cron of one field", { cron: "daily" }, /^cron is not 5 or 6 fields, such as/],
    ["cron that never comes", { cron: "0 0 30 2 *" }, /^cron is "0 0 30 2 \*", which no day ever matches/],
    ["cron beside start", { cron: "* * * * *", start: "1" }, /^start is given beside cron/],
    ["cron beside delay", { cron: "* * * * *", delay: "1" }, /^delay is given beside cron/],
    ["cron beside a time", { cron: "* * * * *", start: "2020-01-31T12:00:00Z" }, /^start is given beside cron/],
    ["cron beside no start", { cron: "* * * * *", start: "soon" }, /^start is "soon", and seconds from now/],
    [
      "a city",
      { cron: "* * * * *", timezone: "berlin" },
      /^timezone is "berlin", and .*: did you mean Europe\/Berlin\?$/,
    ],
    ["a slip in a zone", { cron: "* * * * *", timezone: "Europe/Brelin" }, /did you mean Europe\/Berlin\?$/],
    ["a space in a zone", { cron: "* * * * *", timezone: "america/new york" }, /did you mean America\/New_York\?$/],
    ["an offset", { cron: "* * * * *", timezone: "+02:00" }, /^timezone is "\+02:00", and a name of the IANA/],
    ["a zone alone", { timezone: "Europe/Berlin" }, /^timezone is for cron, which is not given/],
    ["catchup alone", { catchup: "all" }, /^catchup is for cron, which is not given/],
    ["catchup", { cron: "* * * * *", catchup: "first" }, /^catchup is "first", and one of latest, all, none/],
    ["a slip", { inptu: "1" }, /^inptu is no field of a task: did you mean input\?$/],
    ["another case", { outputmax: "1" }, /did you mean outputMax\?$/],
    ["a stranger", { colour: "red" }, /^colour is no field of a task; there are wasm, module, id/],
    ["runs without end", { repeats: "1000000000", delay: "366d" }, /^repeats times delay ends after the year 9999/],
  ])("%s is refused with a sentence", (_, fields, sentence) => expect(refusal(fields)).toMatch(sentence));

  test("stdin is text or a file, not both", () => {
    expect(refusal({ stdin: "a" }, Uint8Array.of(1))).toMatch(/^stdin is given as text and as a file/);
  });

  test("errors are told all at once", () => {
    expect(refusal({ start: "abc", repeats: "-1" }).split("; ")).toHaveLength(2);
  });

  test("two different values of one label are refused, as no worker has both", () => {
    const result = parseSubmission({
      texts: new Map([["require", ["gpu=a", "gpu=b"]]]),
      hasModuleFile: true,
      now: NOW,
    });
    const message = 'has both "gpu=a" and "gpu=b": give one of them';
    expect(result).toMatchObject({ ok: false, errors: [{ field: "require", message }] });
  });

  test("any text is either accepted or refused, and never throws", () => {
    const names = [
      "id",
      "start",
      "delay",
      "repeats",
      "input",
      "args",
      "env",
      "require",
      "retryOn",
      "memory",
      "x",
      "__proto__",
    ];
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...names), fc.array(fc.string({ unit: "binary" }), { maxLength: 3 }))),
        (fields) => {
          const result = parseSubmission({ texts: new Map(fields), hasModuleFile: true, now: NOW });
          if (!result.ok) for (const { message } of result.errors) expect(message.length).toBeGreaterThan(10);
        },
      ),
    );
  });

  test("a whole number is accepted exactly within its range", () => {
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 33), max: 2 ** 33 }), (value) => {
        const isInt32 = value === (value | 0);
        expect(parse({ input: String(value) }).ok).toBe(isInt32);
      }),
    );
  });
});

describe("a task's spec", () => {
  const digest = parseDigest("ab".repeat(32));
  if (digest === undefined) throw new Error("no digest");
  const init = { id: taskId("t1"), submitter: "local", module: digest, kind: "core", entry: "run", now: NOW } as const;

  test("counts start from the moment of acceptance", () => {
    const spec = taskSpec(accepted({ start: "1500ms" }), init);
    expect([spec.firstDueAt, spec.start]).toEqual([NOW + 1_500, 1.5]);
  });

  test("keeps a start that is a time", () => {
    const spec = taskSpec(accepted({ start: "2030-01-31T13:00:00+01:00" }), init);
    expect([spec.firstDueAt, spec.start]).toEqual([Date.UTC(2030, 0, 31, 12), "2030-01-31T12:00:00.000Z"]);
  });
});

describe("very many mistakes", () => {
  test("are told up to so many fields that there are not", () => {
    const result = parse(Object.fromEntries(Array.from({ length: 1_000 }, (_, each) => [`strat${each}`, "1"])));
    expect(result.ok ? [] : result.errors).toHaveLength(STRANGERS_TOLD_MAX);
  });

  test("with files are told in one sentence where there are too many folders", () => {
    const files = Array.from({ length: 1_000 }, (_, each) => `${"d/".repeat(each % 500)}f${each}=@a/x`);
    const deep = Array.from({ length: 100 }, (_, each) => `${`${each}/`.repeat(200)}f=@a/x`);
    expect(refusal({ files })).toBe("accepted");
    expect(refusal({ files: deep })).toBe("files has more than 5000 files and folders together");
  });
});
