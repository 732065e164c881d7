/** What `GET /events` tells: that a task, a run, an attempt or a worker changed. `reset`: events were missed, read everything anew. */
import { z } from "zod";

export const eventSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("task"), task: z.string(), state: z.string() }),
  z.object({ type: z.literal("run"), task: z.string(), run: z.number(), attempt: z.number(), state: z.string() }),
  z.object({
    type: z.literal("attempt"),
    task: z.string(),
    run: z.number(),
    attempt: z.number(),
    worker: z.string(),
    state: z.string(),
    reason: z.string(),
  }),
  z.object({ type: z.literal("worker"), worker: z.string(), status: z.string() }),
  z.object({ type: z.literal("reset") }),
]);

export type EventJson = z.infer<typeof eventSchema>;
