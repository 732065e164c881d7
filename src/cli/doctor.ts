/** `capmesh doctor`: whether a gateway and a worker can run here, what holds their guests, and what to do about the rest. */
import type { Command } from "commander";
import { checkMachine } from "../app/machine-checks.ts";
import type { Check } from "../app/check.ts";
import { isLoopback } from "../base/loopback.ts";
import { DOCTOR_CLOCK_OFF_MS_MAX, DOCTOR_GATEWAY_MS_MAX } from "../base/limits.ts";
import { fetchFailure } from "../client/fetch-failure.ts";
import { type CommandContext, contextOf, defineSettings } from "./command-context.ts";
import { EXIT } from "./exit-code.ts";
import { printable } from "./table.ts";

export function defineDoctor(program: Command): void {
  const command = program
    .command("doctor")
    .description("check this machine and its gateway, and say what to do about each thing that is not well")
    .addHelpText(
      "after",
      `
Each line is ok, warn (it works, with less than there could be) or fail. Exits
with 1 where something fails.

Examples:
  capmesh doctor
  capmesh doctor --data /srv/capmesh --http 0.0.0.0:8080
  capmesh doctor --url http://gateway:8080 --json`,
    );
  defineSettings(command, ["data", "http", "mdns", "url", "token", "json"]).action(async () => {
    const context = contextOf(command);
    const [machine, gateway] = [await checkMachine(context.config, Date.now()), await checkGateway(context)];
    const checks = [...machine.map((check) => withItsHolder(check, gateway, context)), ...gateway];
    const isWell = checks.every(({ state }) => state !== "fail");
    if (context.output.isJson) context.output.json({ ok: isWell, checks });
    else report(checks, context);
    process.exitCode = isWell ? EXIT.ok : EXIT.taskFailed;
  });
}

const TONES = { ok: "good", warn: "wary", fail: "bad" } as const;

function report(checks: readonly Check[], { output }: CommandContext): void {
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, state, found, advice } of checks) {
    output.line(`${output.toned(state.padEnd(4), TONES[state])}  ${name.padEnd(width)}  ${printable(found)}`);
    if (advice !== undefined) output.line(`      ${" ".repeat(width)}  ${printable(advice)}`);
  }
}

/** A port that our gateway has is where it should be. */
function withItsHolder(check: Check, gateway: readonly Check[], { config }: CommandContext): Check {
  const isOurs =
    check.name === "http-port" &&
    check.state === "warn" &&
    gateway.some(({ name, state }) => name === "gateway" && state === "ok") &&
    isLoopback(new URL(config.url).hostname) &&
    new URL(config.url).port === String(config.http.port);
  return isOurs ? { name: check.name, state: "ok", found: `${config.http.port} has the gateway that answers` } : check;
}

/** Whether the gateway that commands talk to is there, would take work, knows us, and has the same time. */
async function checkGateway({ config, origins }: CommandContext): Promise<readonly Check[]> {
  const name = "gateway";
  const { url, token } = config;
  const isAskedFor = origins.url.source !== "default";
  let answer: Response;
  try {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    answer = await fetch(`${url}/tasks?limit=1`, { headers, signal: AbortSignal.timeout(DOCTOR_GATEWAY_MS_MAX) });
    await answer.body?.cancel();
  } catch (error) {
    const advice = isAskedFor
      ? "is it running, and does nothing stand between? --url names another"
      : "none is needed to start one: capmesh up; or name another with --url";
    const found = `${url} cannot be reached: ${fetchFailure(error)}`;
    return [{ name, state: isAskedFor ? "fail" : "warn", found, advice }];
  }
  return [answerCheck(name, url, answer), ...clockCheck(answer)];
}

function answerCheck(name: string, url: string, { status }: Response): Check {
  if (status === 200) return { name, state: "ok", found: `${url} answers` };
  if (status === 401 || status === 403) {
    const advice = "give a token with --token or CAPMESH_TOKEN";
    return { name, state: "warn", found: `${url} answers, and does not let us in (${status})`, advice };
  }
  const advice = status === 503 ? "see its log, and its /readyz" : "is that a gateway's address? --url names another";
  return { name, state: "fail", found: `${url} answers with ${status}`, advice };
}

/** By the header `Date`, which counts seconds. */
function clockCheck(answer: Response): readonly Check[] {
  const theirs = Date.parse(answer.headers.get("date") ?? "");
  if (Number.isNaN(theirs)) return [];
  const offMs = Math.abs(Date.now() - theirs);
  const name = "gateway-clock";
  if (offMs <= DOCTOR_CLOCK_OFF_MS_MAX) return [{ name, state: "ok", found: "the same as ours" }];
  const advice = "have both kept right: timedatectl set-ntp true";
  return [{ name, state: "warn", found: `${Math.round(offMs / 1_000)} s off ours`, advice }];
}
