/** What `POST /secret/rotate` answers. */
import { z } from "zod";

export const rotatedSecretSchema = z.object({
  /** `<peerId>#<secret>`: what a worker from another machine is started with from now on. */
  dial: z.string(),
  /** Until when the secret before this one is good; null: it is good no more. */
  previousUntil: z.string().nullable(),
});

export type RotatedSecretJson = z.infer<typeof rotatedSecretSchema>;
