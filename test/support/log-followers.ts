/** One task whose log is written at a pace, and many readers of it in a process of their own. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { ApiGateway } from "./api-gateway.ts";
import { guestBytes } from "./guests.ts";

const PROCESS = fileURLToPath(new URL("log-followers-process.ts", import.meta.url));

const followedSchema = z.object({
  lines: z.number(),
  /** Over all readers. */
  deliveries: z.number(),
  /** Readers that did not get every line in order. */
  wrong: z.number(),
  /** Milliseconds from before a line was given to the store until a reader had it. */
  p50: z.number(),
  p99: z.number(),
  max: z.number(),
});

export type Followed = z.infer<typeof followedSchema> & {
  /** What the gateway's process took of its cores meanwhile: 1 is one core. */
  readonly cpuShare: number;
};

export interface FollowersOptions {
  readonly followers: number;
  readonly linesPerSecond: number;
  readonly seconds: number;
}

export async function measureFollowers({ followers, linesPerSecond, seconds }: FollowersOptions): Promise<Followed> {
  await using gateway = await ApiGateway.open();
  const { id } = await gateway.client().submit({ wasm: guestBytes("hash"), outputMax: 16 * 1024 * 1024 });
  const attempt = await gateway.start(id);
  const child = spawn(process.execPath, [PROCESS, `${gateway.url}/tasks/${id}/logs`, String(followers)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const said = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    await said.next();
    const cpuBefore = process.cpuUsage();
    const startedMs = performance.now();
    const lines = linesPerSecond * seconds;
    for (let line = 1; line <= lines; line++) {
      const waitMs = startedMs + (line / linesPerSecond) * 1_000 - performance.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      await gateway.write(attempt, "stdout", `${line} ${performance.timeOrigin + performance.now()}\n`);
    }
    await gateway.succeed(attempt);
    const { value } = await said.next();
    const { user, system } = process.cpuUsage(cpuBefore);
    const cpuShare = (user + system) / 1_000 / (performance.now() - startedMs);
    return { ...followedSchema.parse(JSON.parse(String(value))), cpuShare };
  } finally {
    child.kill();
  }
}
