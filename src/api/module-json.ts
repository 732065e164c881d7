/** A module that the gateway has, as JSON. */
import { z } from "zod";
import type { Digest } from "../base/ids.ts";
import type { ModuleInspection, StoredModule } from "../model/module.ts";
import { formatTime } from "./time.ts";

const importSchema = z.object({
  module: z.string().describe("Whose it is, as `wasi_snapshot_preview1`."),
  name: z.string().describe("Its name."),
  kind: z.string().describe("`function`, `memory`, …"),
});

const exportSchema = z.object({
  name: z.string().describe("Its name, as `_start` or `run`."),
  kind: z.string().describe("`function`, `memory`, …"),
  signature: z.string().optional().describe("Of a function of a core module."),
});

export const moduleSchema = z.object({
  sha256: z.string().describe("Its name: what `module=` of a submission takes."),
  kind: z.enum(["core", "component"]).describe("Core module, or WASI 0.2 component."),
  size: z.number().describe("Bytes."),
  codeSize: z.number().describe("Bytes of code, of all core modules in it."),
  imports: z.array(importSchema).describe("What it asks of its host."),
  exports: z.array(exportSchema).describe("What it offers."),
  createdAt: z.string().describe("When the gateway got it."),
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
