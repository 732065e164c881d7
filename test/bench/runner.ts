/**
 * The runner: what a run costs besides the guest, how fast guests compute, how modules arrive, what memory it takes, and
 * how soon things happen. `--interpreter=<file.wasm>` names an interpreter whose first run is to be measured.
 */
import type { Figure } from "./measure.ts";
import { benchDelays } from "./runner-delays.ts";
import { loadInterpreter } from "./runner-interpreter.ts";
import { benchMemory } from "./runner-memory.ts";
import { benchStarts } from "./runner-starts.ts";
import { benchTiers } from "./runner-tiers.ts";
import { benchTransfer } from "./runner-transfer.ts";

const INTERPRETER_FLAG = "--interpreter=";

/** Parts that can be asked for by name, `--part=<name>`. */
const PARTS: Readonly<Record<string, () => Promise<Figure[]>>> = {
  starts: benchStarts,
  tiers: async () => benchTiers(await loadInterpreter(flagValue(INTERPRETER_FLAG))),
  transfer: benchTransfer,
  memory: benchMemory,
  delays: benchDelays,
};

export async function benchRunner(): Promise<Figure[]> {
  const wanted = flagValue("--part=");
  const figures: Figure[] = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (wanted === undefined || wanted === name) figures.push(...(await part()));
  }
  return figures;
}

function flagValue(flag: string): string | undefined {
  return process.argv.find((argument) => argument.startsWith(flag))?.slice(flag.length);
}
