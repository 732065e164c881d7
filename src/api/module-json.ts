/** A module that the gateway has, as JSON. */
import { z } from "zod";
import type { Digest } from "../base/ids.ts";
import type { ModuleInspection, StoredModule } from "../model/module.ts";
import { formatTime } from "./time.ts";

export const moduleSchema = z.object({
  /** Its name: what `module=` of a submission takes. */
  sha256: z.string(),
  kind: z.enum(["core", "component"]),
  /** Bytes. */
  size: z.number(),
  /** Bytes of code, of all core modules in it. */
  codeSize: z.number(),
  imports: z.array(z.object({ module: z.string(), name: z.string(), kind: z.string() })),
  exports: z.array(z.object({ name: z.string(), kind: z.string(), signature: z.string().optional() })),
  createdAt: z.string(),
});

export type ModuleJson = z.infer<typeof moduleSchema>;

export function moduleJson({ digest, inspection, createdAt }: StoredModule): ModuleJson {
  return { ...moduleOutside(digest, inspection), createdAt: formatTime(createdAt) };
}

/** What its bytes alone say. */
export function moduleOutside(digest: Digest, inspection: ModuleInspection): Omit<ModuleJson, "createdAt"> {
  return {
    sha256: digest,
    kind: inspection.kind,
    size: inspection.bytes,
    codeSize: inspection.codeBytes,
    imports: inspection.imports.map(({ module, name, kind }) => ({ module, name, kind })),
    exports: inspection.exports.map(({ name, kind, signature }) => ({
      name,
      kind,
      ...(signature === undefined ? {} : { signature }),
    })),
  };
}
