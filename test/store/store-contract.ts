/**
 * The conformance suite of the store's contract (`src/store/store.ts`): every implementation runs it. It knows nothing
 * of how one keeps its rows. The parts are in files of their own, by what they are about.
 */
import { describe } from "vitest";
import { describeClock } from "./store-contract-clock.ts";
import { describeCron } from "./store-contract-cron.ts";
import { describeFiles } from "./store-contract-files.ts";
import { describeDependencies } from "./store-contract-dependencies.ts";
import { describeForgottenRuns } from "./store-contract-forgotten-runs.ts";
import { describeInspection } from "./store-contract-inspection.ts";
import { describeLeases } from "./store-contract-leases.ts";
import { describeModules } from "./store-contract-modules.ts";
import { describeOutput } from "./store-contract-output.ts";
import { describeRetention } from "./store-contract-retention.ts";
import { describeRetry } from "./store-contract-retry.ts";
import { describeRunRetention } from "./store-contract-run-retention.ts";
import { describeSchedule } from "./store-contract-schedule.ts";
import { describeSettling } from "./store-contract-settling.ts";
import { describeSubmissions } from "./store-contract-submissions.ts";
import { describeTasks } from "./store-contract-tasks.ts";
import type { OpenStore } from "./store-harness.ts";

export function storeContract(name: string, open: OpenStore): void {
  describe(`${name}, by the store's contract`, () => {
    describe("tasks", () => {
      describeTasks(open);
    });
    describe("schedule", () => {
      describeSchedule(open);
    });
    describe("cron and overlap", () => {
      describeCron(open);
    });
    describe("a clock that is put back", () => {
      describeClock(open);
    });
    describe("dependencies", () => {
      describeDependencies(open);
    });
    describe("submissions", () => {
      describeSubmissions(open);
    });
    describe("retry", () => {
      describeRetry(open);
    });
    describe("inspection", () => {
      describeInspection(open);
    });
    describe("leases", () => {
      describeLeases(open);
    });
    describe("settling", () => {
      describeSettling(open);
    });
    describe("files", () => {
      describeFiles(open);
    });
    describe("modules", () => {
      describeModules(open);
    });
    describe("retention", () => {
      describeRetention(open);
    });
    describe("retention of runs", () => {
      describeRunRetention(open);
      describeForgottenRuns(open);
    });
    describe("output", () => {
      describeOutput(open);
    });
  });
}
