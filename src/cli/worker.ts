/** `capmesh worker ls | get | drain | admit | forget`. */
import type { Command } from "commander";
import { CLIENT_SETTINGS, contextOf, defineSettings } from "./command-context.ts";
import { ageText, labelText } from "./words.ts";

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
        // Whole: it is what `worker admit` takes.
        { heading: "ID", value: (row) => row.id },
        { heading: "STATUS", value: (row) => row.status },
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
  const command = worker.command("get").description("one worker").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    const found = await client.worker(id);
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
    .argument("<id>")
    .option("--within <duration>", "then what it has not finished is tried elsewhere (default: the gateway's --grace)");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string, options: { readonly within?: string }) => {
    const { client, output } = contextOf(command);
    await client.drain(id, { grace: options.within });
    if (output.isJson) output.json({ id, draining: true });
    else output.say(`worker ${id} gets no more runs; \`capmesh worker admit ${id}\` takes that back`);
  });
}

function defineAdmit(worker: Command): void {
  const command = worker
    .command("admit")
    .description("let a worker join without the secret, or give it runs again")
    .argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    await client.admit(id);
    if (output.isJson) output.json({ id, admitted: true });
    else output.say(`worker ${id} may join`);
  });
}

function defineForget(worker: Command): void {
  const command = worker.command("forget").description("end a worker's session and bar it").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    await client.forget(id);
    if (output.isJson) output.json({ id, forgotten: true });
    else output.say(`worker ${id} is forgotten, and barred until it is admitted`);
  });
}
