/** The interpreter whose first run the runner's benchmark measures. */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { largeModule } from "./runner-large-module.ts";

const INTERPRETER_BYTES = 16_000_000;

/** What is run to see how fast an interpreter starts. */
export interface Interpreter {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly args: readonly string[];
}

/** The interpreter in the file at `path`, asked to print 1; without a path a module of that size made up. */
export async function loadInterpreter(path: string | undefined): Promise<Interpreter> {
  if (path === undefined) {
    console.warn("bench: no interpreter was named (--interpreter=<file.wasm>); a large module stands in for one");
    return { name: "16 MB of code, a tenth of it called", bytes: largeModule(INTERPRETER_BYTES), args: [] };
  }
  const name = basename(path);
  const args = name.includes("ruby") ? ["-e", "puts 1"] : name.includes("php") ? ["-r", "echo 1;"] : ["-c", "print(1)"];
  return { name: `${name} ${args.join(" ")}`, bytes: await readFile(path), args };
}
