/** `capmesh cluster ls | watch`: the members as gossip shows them; discovery packets as they arrive. */
import type { Command } from "commander";
import { type ShownPacket, watchNetwork } from "../app/watch-discovery.ts";
import { CLIENT_SETTINGS, type CommandContext, contextOf, defineSettings } from "./command-context.ts";
import { InterruptedError } from "./exit-code.ts";
import { PEER_COLUMN, ageText, labelText } from "./words.ts";

export function defineCluster(program: Command): void {
  const cluster = program.command("cluster").description("look at the cluster's members");
  defineList(cluster);
  defineWatch(cluster);
}

function defineList(cluster: Command): void {
  const command = cluster.command("ls").description("members that were heard of lately");
  defineSettings(command, CLIENT_SETTINGS).action(async () => {
    const { client, output } = contextOf(command);
    const members = await client.cluster();
    if (output.isJson) return output.json(members);
    const now = Date.now();
    output.table(
      [
        { heading: "ID", value: (row) => row.id, ...PEER_COLUMN },
        { heading: "ROLE", value: (row) => row.role },
        { heading: "BUSY", value: (row) => (row.slots > 0 ? `${row.busy}/${row.slots}` : "-") },
        { heading: "UP", value: (row) => ageText(row.startedAt, now) },
        { heading: "SEEN", value: (row) => `${ageText(row.lastSeenAt, now)} ago` },
        { heading: "VERSION", value: (row) => row.version },
        { heading: "LABELS", value: (row) => labelText(row.labels), isFlexible: true },
        { heading: "ADDRESSES", value: (row) => row.addresses.join(" "), isFlexible: true },
      ],
      members,
      "no members",
    );
  });
}

const WATCH_HELP = `
Each line is a packet of multicast DNS: its type, the namespace it is about, its
size, and who sent it. An answer tells a gateway's peer id and addresses;
DISTANCE is how long the first answer to a question of ours took.
Ends with Ctrl-C.`;

function defineWatch(cluster: Command): void {
  const command = cluster
    .command("watch")
    .description("discovery packets on this network, as they arrive")
    .addHelpText("after", WATCH_HELP);
  defineSettings(command, ["ns", "json"]).action(async () => {
    const context = contextOf(command);
    const { output, config } = context;
    if (!output.isJson) output.line("TYPE    NAMESPACE         BYTES  DISTANCE  FROM             PEER");
    const interrupted = Promise.withResolvers<void>();
    process.once("SIGINT", interrupted.resolve).once("SIGTERM", interrupted.resolve);
    let trouble = "";
    using _ = await watchNetwork({
      namespace: config.namespace,
      onPacket: (packet) => show(context, packet),
      onTrouble: (reason) => {
        if (reason !== trouble)
          output.say(`multicast does not work here: ${reason}; \`capmesh doctor\` says what to do`);
        trouble = reason;
      },
    });
    await interrupted.promise;
    throw new InterruptedError("");
  });
}

function show({ output }: CommandContext, packet: ShownPacket): void {
  if (output.isJson) return output.json({ at: new Date().toISOString(), ...packet });
  const { type, namespace, bytes, from, peer, addresses, distanceMs } = packet;
  const distance = distanceMs === undefined ? "-" : `${distanceMs.toFixed(1)} ms`;
  const columns = [
    type.padEnd(6),
    namespace.padEnd(16),
    String(bytes).padStart(6),
    distance.padStart(8),
    from.padEnd(15),
  ];
  output.line(
    [...columns, peer ?? "", addresses.length > 0 ? `(${addresses.length} addresses)` : ""].join("  ").trimEnd(),
  );
}
