import { CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { disconnected, failed } from "../../src/base/errors.ts";
import { InterruptedError, UsageError, WaitTimedOutError, describeError, exitCodeOf } from "../../src/cli/exit-code.ts";
import { ApiError } from "../../src/client/api-error.ts";

const refusal = (status: number, code: string): ApiError => new ApiError({ status, code, message: "no" });

describe("exit codes", () => {
  test.each([
    ["a failed task, or anything else", new Error("x"), 1],
    ["a failure of the gateway", refusal(500, "internal"), 1],
    ["usage", new UsageError("x"), 2],
    ["usage, found by commander", new CommanderError(1, "commander.unknownOption", "x"), 2],
    ["a wrong setting", failed("x", { code: "usage" }), 2],
    ["a refused field", refusal(400, "invalid-field"), 2],
    ["a refused module", refusal(422, "module-rejected"), 2],
    ["not found", refusal(404, "no-such-task"), 3],
    ["no token", refusal(401, "unauthenticated"), 4],
    ["not allowed", refusal(403, "forbidden"), 4],
    ["unreachable", disconnected("x", { code: "unreachable" }), 5],
    ["not serving now", refusal(503, "not-ready"), 5],
    ["waited too long", new WaitTimedOutError("x"), 6],
    ["conflict", refusal(409, "id-taken"), 7],
    ["interrupted", new InterruptedError("x"), 130],
    ["help", new CommanderError(0, "commander.helpDisplayed", "x"), 0],
  ])("%s", (_name, thrown, code) => expect(exitCodeOf(thrown)).toBe(code));
});

describe("what is said", () => {
  test("names the flag of each refused field", () => {
    const errors = [
      { field: "outputMax", message: "at most 5" },
      { field: "wasm", message: "empty" },
    ];
    const thrown = new ApiError({ status: 400, code: "invalid-field", message: "2 fields", errors });
    expect(describeError(thrown)).toBe("--output-max: at most 5\n<file.wasm>: empty");
  });

  test("tells how to give a token", () => {
    expect(describeError(refusal(401, "unauthenticated"))).toContain("CAPMESH_TOKEN");
  });

  test("tells how to name a gateway", () => {
    expect(describeError(disconnected("gone", { code: "unreachable" }))).toMatch(/--url or CAPMESH_URL/);
  });

  test("does not repeat what commander has said", () => {
    expect(describeError(new CommanderError(1, "commander.unknownOption", "x"))).toBe("");
  });
});
