#!/usr/bin/env node
// The program `capmesh`: from a clone it runs the sources, from a published package what was built of them.
import { existsSync } from "node:fs";
import * as nodeModule from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureInstalled, isCurrentNodeNewEnough, runFile, runMain } from "./launch.mjs";

const source = new URL("./main.ts", import.meta.url);
const main = existsSync(source) ? source : new URL("../../dist/cli/main.js", import.meta.url);

/** Compiled code is kept, which halves the time until a command does something. A folder of this user's alone. */
function keepCompiledCode() {
  process.env.NODE_COMPILE_CACHE ||= join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "capmesh/compile");
  if (isCurrentNodeNewEnough) nodeModule.enableCompileCache(process.env.NODE_COMPILE_CACHE);
}

await runMain(async () => {
  await ensureInstalled();
  keepCompiledCode();
  if (!isCurrentNodeNewEnough) return runFile(fileURLToPath(main), process.argv.slice(2));
  await import(main.href);
  return process.exitCode;
});
