/** JSON of the file that parses, and is not what was written. */
import { describe, expect, test } from "vitest";
import type { Outcome } from "../../../src/model/outcome.ts";
import { decodeModule, decodeOpenRun, decodeSpec, encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { isRecord } from "../../../src/base/json-shapes.ts";
import { INSPECTION, T0, attemptEnd, create, createRunning, digest, taskId, taskSpec } from "../store-samples.ts";
import { StoreFailure } from "../../../src/store/trouble.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const DAMAGED = expect.objectContaining({ code: "store-unavailable", trouble: "damaged" });

const SPEC = taskSpec("t", {
  args: ["a"],
  env: { A: "1" },
  require: { os: "linux" },
  cron: "0 3 * * *",
  input: 3,
  files: [
    { path: "in", digest: digest(), bytes: 3, from: { task: taskId("before"), path: "out", run: 2 } },
    { path: "later", from: { task: taskId("other"), path: "out" } },
  ],
});

function specFrom(change: (stored: Record<string, unknown>) => unknown) {
  const wire = encodeNewTask(SPEC, INSPECTION).spec;
  const stored: unknown = JSON.parse(wire.text);
  if (!isRecord(stored)) throw new Error("a spec is an object");
  return decodeSpec({ ...wire, text: JSON.stringify(change(stored)) });
}

describe("the spec of a task", () => {
  test("is what was written, with what a later version has written besides", () => {
    expect(specFrom((stored) => stored)).toEqual(SPEC);
    expect(specFrom((stored) => ({ ...stored, colour: { of: "later" } }))).toMatchObject(SPEC);
  });

  test("is damaged where a member is missing or of another type", () => {
    const given = Object.keys(specFrom((stored) => stored));
    const optional = ["traceparent", "module", "kind", "cron", "input", "difficulty"];
    // What an earlier version did not know of has its default; stdin and submitter have columns of their own.
    const defaulted = ["timezone", "overlap", "catchup", "after", "files", "outputs"];
    const isRead = (read: () => unknown): string => {
      try {
        read();
        return "whole";
      } catch (thrown) {
        return thrown instanceof StoreFailure ? thrown.message : "a failure of another kind";
      }
    };
    const fault = (name: string) => `the database is damaged: the spec of a task is not what was written (${name})`;
    for (const name of given.filter((each) => each !== "stdin" && each !== "submitter")) {
      expect(isRead(() => specFrom((stored) => ({ ...stored, [name]: { odd: true } })))).toBe(fault(name));
      const left = isRead(() => specFrom((stored) => ({ ...stored, [name]: undefined })));
      expect(left).toBe([...optional, ...defaulted].includes(name) ? "whole" : fault(name));
    }
  });

  test.each([
    ["an argument", { args: ["a", 1] }],
    ["a variable", { env: { A: 1 } }],
    ["a list for the variables", { env: ["A"] }],
    ["a way into the module", { entry: "Not A Kind" }],
    ["an overlap", { overlap: "maybe" }],
    ["a file without content", { files: [{ path: "in", digest: digest() }] }],
    ["a file of nobody", { files: [{ path: "in" }] }],
  ])("is damaged where %s is none", (_, change) => {
    expect(() => specFrom((stored) => ({ ...stored, ...change }))).toThrow(DAMAGED);
  });

  test.each([[null], [[]], ["text"], [7]])("is damaged where it is %j", (value) => {
    expect(() => specFrom(() => value)).toThrow(DAMAGED);
  });
});

describe("an outcome", () => {
  const read = (outcome: unknown) =>
    decodeOpenRun({
      index: 1,
      state: "ready",
      dueAt: T0,
      notBefore: 0,
      attempt: 1,
      lost: 0,
      lostOn: [],
      lastOutcome: JSON.stringify(outcome),
    }).lastOutcome;

  test.each<Outcome>([
    { kind: "exited", code: 3 },
    { kind: "trapped", reason: "unreachable" },
    { kind: "output-exceeded" },
    { kind: "output-exceeded", reason: "too many files" },
  ])("is what was written: %j", (outcome) => {
    expect(read(outcome)).toEqual(outcome);
  });

  test.each([
    [null],
    [{}],
    [{ kind: "gone" }],
    [{ kind: "exited" }],
    [{ kind: "trapped" }],
    [{ kind: "lost", reason: 1 }],
  ])("is damaged where it is %j", (outcome) => {
    expect(() => read(outcome)).toThrow(DAMAGED);
  });
});

test.each([[{}], [{ stdout: "", stderr: 3 }], [{ stdout: "", stderr: "", exitCode: "0" }]])(
  "a result is damaged where it is %j",
  async (result) => {
    await using harness = await SqliteHarness.open();
    const { task, attempt } = await createRunning(harness.store, taskSpec("t"));
    await harness.store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    using other = harness.openBeside();
    other.prepare("UPDATE runs SET result = ?").run(JSON.stringify(result));
    await expect(harness.store.getTask(task.spec.id)).rejects.toMatchObject({ trouble: "damaged" });
    expect(await harness.store.check()).toMatchObject({ kind: "damaged" });
    await expect(create(harness.store, taskSpec("more"))).rejects.toMatchObject({ trouble: "damaged" });
  },
);

test.each([
  [{ ...INSPECTION, kind: "native" }],
  [{ ...INSPECTION, imports: [{ name: "f" }] }],
  [{ ...INSPECTION, memories: [{ minPages: "1" }] }],
  [{ ...INSPECTION, tables: undefined }],
])("the inspection of a module is damaged: %#", (inspection) => {
  const wire = { digest: digest(), createdAt: T0 };
  expect(decodeModule({ ...wire, inspection: JSON.stringify(INSPECTION) }).inspection).toEqual(INSPECTION);
  expect(() => decodeModule({ ...wire, inspection: JSON.stringify(inspection) })).toThrow(DAMAGED);
});

test.each([
  ["a state that there is not", "UPDATE tasks SET state = 'resting'"],
  ["the state of a run", "UPDATE runs SET state = 'resting'"],
  ["a spec without its arguments", "UPDATE specs SET spec = json_remove(spec, '$.args')"],
])("%s is damage, which the store tells and does not write to any more", async (_, change) => {
  await using harness = await SqliteHarness.open();
  await createRunning(harness.store, taskSpec("t"));
  await harness.reopen();
  using other = harness.openBeside();
  other.exec(change);
  await expect(harness.store.inspectTask(taskId("t"), T0)).rejects.toMatchObject({ trouble: "damaged" });
  expect(await harness.store.check()).toMatchObject({
    kind: "damaged",
    message: expect.stringContaining("restore it"),
  });
  await expect(create(harness.store, taskSpec("more"))).rejects.toMatchObject({ trouble: "damaged" });
});
