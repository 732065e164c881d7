/** A module that the gateway has, as JSON. */
import { z } from "zod";
import type { StoredModule } from "../model/module.ts";
import { formatTime } from "./time.ts";

export const moduleSchema = z.object({
  /** SHA-256. */
  module: z.string(),
  kind: z.enum(["core", "component"]),
  bytes: z.number(),
  codeBytes: z.number(),
  imports: z.array(z.object({ module: z.string(), name: z.string(), kind: z.string() })),
  exports: z.array(z.object({ name: z.string(), kind: z.string(), signature: z.string().optional() })),
  createdAt: z.string(),
});

export type ModuleJson = z.infer<typeof moduleSchema>;

export function moduleJson({ digest, inspection, createdAt }: StoredModule): ModuleJson {
  return {
    module: digest,
    kind: inspection.kind,
    bytes: inspection.bytes,
    codeBytes: inspection.codeBytes,
    imports: inspection.imports.map(({ module, name, kind }) => ({ module, name, kind })),
    exports: inspection.exports.map(({ name, kind, signature }) => ({
      name,
      kind,
      ...(signature === undefined ? {} : { signature }),
    })),
    createdAt: formatTime(createdAt),
  };
}
