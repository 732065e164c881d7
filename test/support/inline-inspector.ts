/** Inspects modules in this very process, for tests that are about something else. */
import { readFile } from "node:fs/promises";
import type { ModuleInspector } from "../../src/inspect/inspector.ts";
import { inspectModule } from "../../src/model/wasm-inspect.ts";

export const inlineInspector: ModuleInspector & { readonly version: () => Promise<string> } = {
  inspectFile: async (path) => inspectModule(await readFile(path)),
  inspectBytes: async (bytes) => inspectModule(bytes),
  version: async () => "inline",
};
