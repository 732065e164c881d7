/** The chaos test, a short one. `npm run chaos` is longer. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { noHostsBecause } from "../support/two-hosts.ts";

const MINUTES = 60_000;
const SECONDS = 8;
/** The same tasks and faults each time; what they meet is up to the machine. */
const SEED = 8;

test(
  "loses nothing, and does nothing twice, while gateway and workers are killed, stopped, drained and cut off",
  { timeout: 4 * MINUTES },
  async () => {
    const reason = noHostsBecause();
    if (reason !== undefined) console.log(`chaos: no cable is pulled: ${reason}`);
    const main = fileURLToPath(new URL("../chaos/main.ts", import.meta.url));
    const chaos = spawn(process.execPath, [main, String(SECONDS), "--seed", String(SEED)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    expect(await text(chaos.stdout)).toContain("chaos: nothing was lost, and nothing was done twice");
  },
);
