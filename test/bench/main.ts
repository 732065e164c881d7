/**
 * `npm run bench [-- <suite>…] [--json]`: measures, and prints a table, or JSON. Figures are of the machine and the moment;
 * hold them against others of the same run only.
 */
import { benchEndToEnd } from "./end-to-end.ts";
import { benchFollowers } from "./followers.ts";
import { benchMatching } from "./matching.ts";
import { type Figure, table } from "./measure.ts";
import { benchRpc } from "./rpc.ts";
import { benchRunner } from "./runner.ts";
import { benchSchedule } from "./schedule.ts";

const SUITES: Readonly<Record<string, () => Promise<Figure[]>>> = {
  "end-to-end": benchEndToEnd,
  rpc: benchRpc,
  matching: benchMatching,
  runner: benchRunner,
  schedule: benchSchedule,
  followers: benchFollowers,
};

const names = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const unknown = names.find((name) => !Object.hasOwn(SUITES, name));
if (unknown !== undefined) {
  console.error(`bench: there is no suite "${unknown}"; there are ${Object.keys(SUITES).join(", ")}`);
  process.exit(2);
}
const figures: Figure[] = [];
for (const [name, suite] of Object.entries(SUITES)) {
  if (names.length === 0 || names.includes(name)) figures.push(...(await suite()));
}
console.log(process.argv.includes("--json") ? JSON.stringify(figures) : table(figures));
