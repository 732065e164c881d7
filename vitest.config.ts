import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Processes, so that a test cannot change another file's environment, signals or exit code.
    pool: "forks",
    maxWorkers: 2,
    // Tests wait for events, never for time to pass. These end a hang, on a machine that is busy with something else.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ["default"],
  },
});
