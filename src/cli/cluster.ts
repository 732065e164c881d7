/** `capmesh cluster ls`: the members as gossip shows them. */
import type { Command } from "commander";
import { CLIENT_SETTINGS, contextOf, defineSettings } from "./command-context.ts";
import { ageText, labelText } from "./words.ts";

export function defineCluster(program: Command): void {
  const cluster = program.command("cluster").description("look at the cluster's members");
  const command = cluster.command("ls").description("members that were heard of lately");
  defineSettings(command, CLIENT_SETTINGS).action(async () => {
    const { client, output } = contextOf(command);
    const members = await client.cluster();
    if (output.isJson) return output.json(members);
    const now = Date.now();
    output.table(
      [
        { heading: "ID", value: (row) => row.id },
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
