/** `capmesh token create | ls | revoke`, and `capmesh audit`. */
import { type Command, InvalidArgumentError } from "commander";
import { POWERS, type Power, type TokenRequest } from "../api/token-json.ts";
import { CLIENT_SETTINGS, contextOf, defineSettings } from "./command-context.ts";
import { ageText } from "./words.ts";

const CREATE_EXAMPLES = `
Powers:
  read     see tasks, their output and files, workers and events
  submit   submit, cancel, retry and delete tasks
  admin    everything: workers, tokens and the audit log too

Examples:
  # for somebody who may look
  capmesh token create --can read --label anna
  # for a program, for a month
  capmesh token create --can submit,read --for 30d --label ci
  # at most 100 unfinished tasks, two submissions a second
  capmesh token create --can submit --queued 100 --rate 2

The token is shown once. Whoever has it uses it with --token, or CAPMESH_TOKEN,
or \`Authorization: Bearer\`.`;

interface CreateOptions {
  readonly can: readonly Power[];
  readonly for?: string;
  readonly label?: string;
  readonly rate?: number;
  readonly queued?: number;
  readonly bytes?: number;
}

export function defineToken(program: Command): void {
  const token = program.command("token").description("make, list and revoke tokens for the API");
  defineCreate(token);
  defineList(token);
  defineRevoke(token);
}

function defineCreate(token: Command): void {
  const command = token
    .command("create")
    .description("make a token that can no more than your own")
    .requiredOption("--can <powers>", "what it can: read, submit, admin; several with commas", parsePowers)
    .option("--for <duration>", "how long it is valid, as in 12h or 30d; default: until it is revoked")
    .option("--label <text>", "whose it is, or what for")
    .option("--rate <n>", "submissions a second, over time; ten times as many at once", parseNumber)
    .option("--queued <n>", "unfinished tasks at one time", parseNumber)
    .option("--bytes <n>", "bytes of submissions an hour", parseNumber)
    .addHelpText("after", CREATE_EXAMPLES);
  defineSettings(command, CLIENT_SETTINGS).action(async (options: CreateOptions) => {
    const { client, output } = contextOf(command);
    const made = await client.createToken(requestOf(options));
    if (output.isJson) return output.json(made);
    output.line(made.token);
    const until = made.expiresAt === null ? "until it is revoked" : `until ${made.expiresAt}`;
    output.say(`token ${made.id} can ${made.can.join(", ")}, ${until}; this is the only time that it is shown`);
  });
}

function requestOf({ can, for: time, label, rate, queued, bytes }: CreateOptions): TokenRequest {
  return {
    can: [...can],
    ...(time !== undefined && { for: time }),
    ...(label !== undefined && { label }),
    limits: {
      ...(rate !== undefined && { submitsPerSecond: rate }),
      ...(queued !== undefined && { queuedTasks: queued }),
      ...(bytes !== undefined && { bytesPerHour: bytes }),
    },
  };
}

function defineList(token: Command): void {
  const command = token.command("ls").description("tokens, those that have ended too for a while");
  defineSettings(command, CLIENT_SETTINGS).action(async () => {
    const { client, output } = contextOf(command);
    const tokens = await client.tokens();
    if (output.isJson) return output.json(tokens);
    const now = Date.now();
    output.table(
      [
        { heading: "ID", value: (row) => row.id },
        { heading: "STATE", value: (row) => row.state, tone: (row) => (row.state === "active" ? "good" : "wary") },
        { heading: "CAN", value: (row) => row.can.join(",") },
        { heading: "LABEL", value: (row) => row.label, isFlexible: true },
        { heading: "AGE", value: (row) => ageText(row.createdAt, now) },
        { heading: "EXPIRES", value: (row) => row.expiresAt ?? "never", isFlexible: true },
        { heading: "BY", value: (row) => row.createdBy, isFlexible: true },
      ],
      tokens,
      "no tokens; make one with `capmesh token create --can read`",
    );
  });
}

function defineRevoke(token: Command): void {
  const command = token
    .command("revoke")
    .description("end a token, those that were made with it, and what is under way on them")
    .argument("<id>", "as `token ls` shows it");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    await client.revokeToken(id);
    if (output.isJson) output.json({ id, revoked: true });
    else output.say(`token ${id} is revoked`);
  });
}

export function defineAudit(program: Command): void {
  const command = program
    .command("audit")
    .description("who got, narrowed, used and took back which authority, newest first")
    .option("--limit <n>", "how many entries", parseNumber, 50);
  defineSettings(command, CLIENT_SETTINGS).action(async ({ limit }: { readonly limit: number }) => {
    const { client, output } = contextOf(command);
    const entries = await Array.fromAsync(client.audit({ limit }));
    if (output.isJson) return output.json(entries);
    output.table(
      [
        { heading: "AT", value: (row) => row.at },
        { heading: "WHO", value: (row) => row.actor },
        { heading: "DID", value: (row) => row.action },
        { heading: "TO", value: (row) => row.subject, isFlexible: true },
        { heading: "DETAIL", value: (row) => row.detail, isFlexible: true },
      ],
      entries,
      "nothing yet",
    );
  });
}

function parsePowers(text: string): readonly Power[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !POWERS.some((power) => power === name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`${JSON.stringify(unknown)} is none of ${POWERS.join(", ")}.`);
  return POWERS.filter((power) => names.includes(power));
}

function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0)) throw new InvalidArgumentError("A number above 0 is expected.");
  return value;
}
