/** `capmesh worker ls | get | drain | admit | forget`. */
import type { Command } from "commander";
import type { CapmeshClient } from "../client/client.ts";
import { CLIENT_SETTINGS, contextOf, defineSettings } from "./command-context.ts";
import { UsageError } from "./exit-code.ts";
import { PEER_COLUMN, ageText, labelText } from "./words.ts";

const ID_HELP = "as `worker ls` shows it: the end of one is enough";

export function defineWorker(program: Command): void {
  const worker = program.command("worker").description("look at workers, drain, admit and bar them");
  defineList(worker);
  defineGet(worker);
  defineDrain(worker);
  defineAdmit(worker);
  defineForget(worker);
}

function defineList(worker: Command): void {
  const command = worker.command("ls").description("workers, the pending ones included");
  defineSettings(command, CLIENT_SETTINGS).action(async () => {
    const { client, output } = contextOf(command);
    const workers = await client.workers();
    if (output.isJson) return output.json(workers);
    const now = Date.now();
    output.table(
      [
        { heading: "ID", value: (row) => row.id, ...PEER_COLUMN },
        { heading: "STATUS", value: (row) => row.status, tone: (row) => (row.status === "ready" ? "good" : "wary") },
        { heading: "BUSY", value: (row) => `${row.busy}/${row.slots}` },
        { heading: "SEEN", value: (row) => `${ageText(row.lastSeenAt, now)} ago` },
        { heading: "LABELS", value: (row) => labelText(row.labels), isFlexible: true },
        { heading: "NOTE", value: (row) => row.note ?? "", isFlexible: true },
      ],
      workers,
      "no workers; start one with `capmesh --dial <peerId>` as the gateway printed it",
    );
  });
}

function defineGet(worker: Command): void {
  const command = worker.command("get").description("one worker").argument("<id>", ID_HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async (text: string) => {
    const { client, output } = contextOf(command);
    const found = await client.worker(await chooseWorker(client, text));
    if (output.isJson) return output.json(found);
    output.table(
      [
        { heading: "FIELD", value: ([name]) => name },
        { heading: "VALUE", value: ([, value]) => value, isFlexible: true },
      ],
      Object.entries(found).map(
        ([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)] as const,
      ),
      "",
    );
  });
}

function defineDrain(worker: Command): void {
  const command = worker
    .command("drain")
    .description("give a worker no more runs, until it is admitted again")
    .argument("<id>", ID_HELP)
    .option("--within <duration>", "then what it has not finished is tried elsewhere (default: the gateway's --grace)");
  defineSettings(command, CLIENT_SETTINGS).action(async (text: string, options: { readonly within?: string }) => {
    const { client, output } = contextOf(command);
    const id = await chooseWorker(client, text);
    await client.drain(id, { grace: options.within });
    if (output.isJson) output.json({ id, draining: true });
    else output.say(`worker ${id} gets no more runs; \`capmesh worker admit ${id}\` takes that back`);
  });
}

function defineAdmit(worker: Command): void {
  const command = worker
    .command("admit")
    .description("let a worker join without the secret, or give it runs again")
    .argument("<id>", ID_HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async (text: string) => {
    const { client, output } = contextOf(command);
    const id = await chooseWorker(client, text);
    await client.admit(id);
    if (output.isJson) output.json({ id, admitted: true });
    else output.say(`worker ${id} may join`);
  });
}

function defineForget(worker: Command): void {
  const command = worker.command("forget").description("end a worker's session and bar it").argument("<id>", ID_HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async (text: string) => {
    const { client, output } = contextOf(command);
    const id = await chooseWorker(client, text);
    await client.forget(id);
    if (output.isJson) output.json({ id, forgotten: true });
    else output.say(`worker ${id} is forgotten, and barred until it is admitted`);
  });
}

/** Shorter than any worker's id: what a table has cut, with its ellipsis or without. */
const WHOLE_ID_LENGTH = 24;

/**
 * The worker that somebody means who has typed an id, or its end. What is no worker's end goes on as it is: somebody may
 * be admitted who has not come yet. @throws UsageError where several workers' ids end so.
 */
async function chooseWorker(client: CapmeshClient, text: string): Promise<string> {
  const end = text.replace(/^(?:…|\.\.\.)/, "");
  if (end === text && text.length >= WHOLE_ID_LENGTH) return text;
  const found = (await client.workers()).map(({ id }) => id).filter((id) => id === text || id.endsWith(end));
  if (found.includes(text)) return text;
  if (found.length > 1) throw new UsageError(`<id>: several workers' ids end with ${end}: ${found.join(", ")}`);
  return found[0] ?? text;
}
