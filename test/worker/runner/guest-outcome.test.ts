import { describe, expect, test } from "vitest";
import { judgeEnd, type JudgedEnd } from "../../../src/worker/runner/guest-outcome.ts";
import type { GuestEnd } from "../../../src/worker/runner/wire.ts";

const MIB = 1_048_576;

function judged(end: GuestEnd, memoryBytes: number, more: Partial<JudgedEnd> = {}) {
  return judgeEnd({
    verdict: { kind: "reported", report: { end, cpuMs: 5, memoryBytes }, outputBytes: 3, hasTruncated: false },
    stopped: undefined,
    memoryCapBytes: 100 * MIB,
    initialBytes: MIB,
    seenBytes: 0,
    wallMs: 7,
    cpuMs: 0,
    ...more,
  });
}

function died(stderr: string, more: Partial<JudgedEnd> = {}) {
  const verdict = { kind: "died", reason: "it ended by SIGABRT", stderr, outputBytes: 3, hasTruncated: true } as const;
  return judged({ kind: "exited", code: 0 }, 0, { verdict, ...more });
}

describe("the end of an attempt", () => {
  test.each<[string, GuestEnd, number, string]>([
    ["a trap", { kind: "trapped", reason: "unreachable" }, 90 * MIB, "memory-exceeded"],
    ["a trap", { kind: "trapped", reason: "unreachable" }, 89 * MIB, "trapped"],
    ["exit code 1", { kind: "exited", code: 1 }, 95 * MIB, "memory-exceeded"],
    ["exit code 1", { kind: "exited", code: 1 }, 50 * MIB, "exited"],
    ["exit code 0", { kind: "exited", code: 0 }, 100 * MIB, "exited"],
    ["exit code 0", { kind: "exited", code: 0 }, 101 * MIB, "memory-exceeded"],
    ["too much output", { kind: "output-exceeded" }, 100 * MIB, "output-exceeded"],
    ["a refusal", { kind: "rejected", reason: "no" }, 100 * MIB, "rejected"],
  ])("by %s (%o) with %d bytes of memory is %s", (_what, end, memoryBytes, kind) => {
    expect(judged(end, memoryBytes).outcome.kind).toBe(kind);
  });

  test.each<[GuestEnd, number, string]>([
    [{ kind: "trapped", reason: "unreachable" }, 95, "it has 95 of 100 MiB in use: unreachable"],
    [{ kind: "exited", code: 7 }, 95, "it has 95 of 100 MiB in use: exit code 7"],
    [{ kind: "exited", code: 0 }, 120, "its memories together have 120 of 100 MiB in use: exit code 0"],
  ])("by %o, taken for want of memory, still says what it did", (end, mebibytes, reason) => {
    expect(judged(end, mebibytes * MIB).outcome).toEqual({ kind: "memory-exceeded", reason });
  });

  test("that came before it could be stopped stands", () => {
    const stopped = { kind: "cancelled", reason: "no longer wanted" } as const;
    expect(judged({ kind: "exited", code: 3 }, MIB, { stopped }).outcome).toEqual({ kind: "exited", code: 3 });
  });

  test("by our hand is why we stopped it", () => {
    const stopped = { kind: "timed-out", reason: "too long" } as const;
    expect(died("", { stopped, cpuMs: 40 })).toEqual({
      outcome: stopped,
      usage: { wallMs: 7, cpuMs: 40, memoryBytes: MIB },
      outputBytes: 3,
      outputTruncated: true,
    });
  });

  test.each([
    [0, MIB],
    [30 * MIB, 30 * MIB],
    [400 * MIB, 100 * MIB],
  ])("by our hand, its process seen with %d bytes more, tells of %d", (seenBytes, memoryBytes) => {
    const stopped = { kind: "timed-out", reason: "too long" } as const;
    expect(died("", { stopped, seenBytes }).usage.memoryBytes).toBe(memoryBytes);
  });

  test("by a crash is lost", () => {
    expect(died("").outcome).toMatchObject({ kind: "lost", reason: expect.stringContaining("SIGABRT") });
  });

  test("by a full engine is for want of memory, so that it is not tried for ever", () => {
    const stderr = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory";
    expect(died(stderr).outcome.kind).toBe("memory-exceeded");
  });
});
