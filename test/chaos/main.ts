/**
 * `npm run chaos [-- <seconds>] [--seed <n>]`: 60 seconds by default, with a seed that is printed. The same seed makes the
 * same tasks and the same faults; what they meet is up to the machine. Where namespaces are allowed it runs in a network
 * of its own, with a second host whose cable is pulled.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { noHostsBecause } from "../support/two-hosts.ts";
import { runChaos } from "./chaos.ts";
import { openFarHost } from "./far-host.ts";

const INSIDE = "CAPMESH_CHAOS_INSIDE";
const args = process.argv.slice(2);
const seedAt = args.indexOf("--seed");
const seed = seedAt < 0 ? Math.floor(Math.random() * 2 ** 32) : Number(args[seedAt + 1]);
const plain = args.filter((arg, index) => !arg.startsWith("--") && (seedAt < 0 || index !== seedAt + 1));
const seconds = Number(plain[0] ?? 60);
if (!Number.isSafeInteger(seed) || !(seconds > 0)) {
  console.error("chaos: expected [seconds] [--seed <whole number>]");
  process.exit(2);
}
const isInside = process.env[INSIDE] !== undefined;
const reason = isInside ? undefined : noHostsBecause();
process.exitCode = isInside || reason !== undefined ? await main() : await goInside();

async function goInside(): Promise<number> {
  const command = ["-rn", process.execPath, fileURLToPath(import.meta.url), String(seconds), "--seed", String(seed)];
  const inside = spawn("unshare", command, { stdio: "inherit", env: { ...process.env, [INSIDE]: "1" } });
  const [code] = await once(inside, "exit");
  return typeof code === "number" ? code : 1;
}

async function main(): Promise<number> {
  console.log(`chaos: ${seconds} s, --seed ${seed}`);
  if (reason !== undefined) console.log(`chaos: no cable is pulled: ${reason}`);
  const startedMs = performance.now();
  await using far = reason === undefined ? await openFarHost() : undefined;
  const say = (what: string) =>
    console.log(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)}  ${what}`);
  const { wrong, faults, ...totals } = await runChaos({ seconds, seed, leaseMs: 2_000, workers: 2, far, say });
  console.log(JSON.stringify({ ...totals, faults }));
  for (const what of wrong) console.log(what);
  console.log(
    wrong.length === 0 ? "chaos: nothing was lost, and nothing was done twice" : `chaos: FAILED, --seed ${seed}`,
  );
  return wrong.length === 0 ? 0 : 1;
}
