/** `capmesh secret rotate`. */
import type { Command } from "commander";
import { CLIENT_SETTINGS, contextOf, defineSettings } from "./command-context.ts";

export function defineSecret(program: Command): void {
  const secret = program.command("secret").description("the join secret, by which workers of other machines come in");
  const command = secret
    .command("rotate")
    .description("make another join secret: the old one admits nobody from then on; workers that are in stay")
    .option("--grace <duration>", "how long the old one is good for still, at most 24h (default: not at all)");
  defineSettings(command, CLIENT_SETTINGS).action(async (options: { readonly grace?: string }) => {
    const { client, output } = contextOf(command);
    const rotated = await client.rotateSecret({ grace: options.grace });
    if (output.isJson) return output.json(rotated);
    output.line(rotated.dial);
    output.say(`a worker joins with  capmesh --dial '${rotated.dial}'`);
    if (rotated.previousUntil !== null) output.say(`the old secret is good until ${rotated.previousUntil}`);
  });
}
