#!/usr/bin/env node
// The program `capmesh`: from a clone it runs the sources, from a published package what was built of them.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ensureInstalled, isCurrentNodeNewEnough, runFile, runMain } from "./launch.mjs";

const source = new URL("./main.ts", import.meta.url);
const main = existsSync(source) ? source : new URL("../../dist/cli/main.js", import.meta.url);

await runMain(async () => {
  await ensureInstalled();
  if (!isCurrentNodeNewEnough) return runFile(fileURLToPath(main), process.argv.slice(2));
  await import(main.href);
  return process.exitCode;
});
