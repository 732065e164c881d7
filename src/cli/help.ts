/**
 * What people read when they ask for help, and when they slipped: `capmesh help [command…]`, examples for every command,
 * and where to look next after an error. Applied to the finished program; commands say the rest themselves.
 */
import { type Command, Help } from "commander";
import { closestName } from "../api/closest.ts";
import { UsageError } from "./exit-code.ts";

/** By the words that lead to a command; `""` is the program. Commands that need more words have their own. */
const EXAMPLES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  "": [
    ["capmesh up", "a gateway and a worker here; dashboard on http://127.0.0.1:8080"],
    ["capmesh --gateway", "a gateway; prints the line that joins a worker to it"],
    ["capmesh --dial '12D3Koo…#secret'", "a worker for that gateway"],
    ["capmesh run hash.wasm --input 0 --difficulty 3", "a program on the cluster"],
  ],
  up: [
    ["capmesh up", "as many slots as there are cores"],
    ["capmesh up --slots 2 --http 127.0.0.1:9000", "two runs at once, another port"],
  ],
  run: [
    ["capmesh run hello.wasm -- --exit 7", "a command with arguments; ends with its exit code"],
    ["capmesh run hash.wasm --input 0 --difficulty 3", "an exported run(i32, i32); prints its value"],
    ["capmesh run job.wasm --delay 2s --repeats 3", "three runs, due two seconds apart"],
    ["capmesh run job.wasm --cron '30 2 * * *' --detach", "every night, until it is cancelled"],
    ["capmesh run sort.wasm --file big.csv:in.csv --output 'out/**' -- in.csv", "files in, files kept"],
    ["capmesh run render.wasm --require gpu=yes --retries 3", "only where a label holds; tried four times"],
  ],
  task: [
    ["capmesh task ls --state running", ""],
    ["capmesh task logs nightly -f", ""],
    ["capmesh task explain nightly", ""],
  ],
  "task ls": [
    ["capmesh task ls", "the newest hundred"],
    ["capmesh task ls --state failed --limit 10", "the ten that failed last"],
    ["capmesh task ls --json | jq -r '.[].id'", "for programs"],
  ],
  "task get": [
    ["capmesh task get nightly", "the task and a line for each run"],
    ["capmesh task get nightly --json", "all that the API has"],
  ],
  "task logs": [
    ["capmesh task logs nightly", "what the latest run has written so far"],
    ["capmesh task logs nightly -f", "live, until that run is over"],
    ["capmesh task logs nightly --run all", "all runs, in order"],
    ["capmesh task logs nightly --run 3 --stream stdout > out.bin", "one stream, byte for byte"],
  ],
  "task files": [
    ["capmesh task files nightly", "what was kept of its first run"],
    ["capmesh task files nightly --run 3 --out-dir results", "fetched into a folder"],
  ],
  "task cancel": [["capmesh task cancel nightly", "ends its runs under way; no more come"]],
  "task retry": [["capmesh task retry nightly", "what failed or was cancelled runs again"]],
  "task explain": [["capmesh task explain nightly", "waiting for its time, a slot, a label, another task…"]],
  "task rm": [["capmesh task rm nightly", "output and files go with it"]],
  module: [["capmesh module push hash.wasm", "sent once; tasks name it by its SHA-256"]],
  "module ls": [["capmesh module ls --limit 10", "the newest ten"]],
  worker: [["capmesh worker ls", "who is there, and who waits to be admitted"]],
  "worker ls": [["capmesh worker ls", ""]],
  "worker get": [["capmesh worker get 12D3KooW…", ""]],
  "worker drain": [
    ["capmesh worker drain 12D3KooW…", "finishes what it has, gets nothing more"],
    ["capmesh worker drain 12D3KooW… --within 5m", "what is left after five minutes goes elsewhere"],
  ],
  "worker admit": [["capmesh worker admit 12D3KooW…", "one that waits as pending, or was drained or barred"]],
  "worker forget": [["capmesh worker forget 12D3KooW…", ""]],
  cluster: [["capmesh cluster ls", ""]],
  "cluster ls": [["capmesh cluster ls", "gateways and workers, their versions and addresses"]],
  "cluster watch": [
    ["capmesh cluster watch", "every packet, until Ctrl-C"],
    ["capmesh cluster watch --json | jq .peer", "for programs"],
  ],
  token: [["capmesh token create --can read --for 30d --label anna", "for a colleague who may look"]],
  "token ls": [["capmesh token ls", ""]],
  "token revoke": [["capmesh token revoke 7c1f…", "an id of `capmesh token ls`"]],
  secret: [["capmesh secret rotate", "a new join secret, printed once; the old one admits nobody"]],
  "secret rotate": [
    ["capmesh secret rotate", "at once"],
    ["capmesh secret rotate --grace 1h", "the old one admits workers for an hour more"],
  ],
  audit: [["capmesh audit --limit 20", "the latest twenty entries"]],
  config: [["capmesh config show --origin", "every setting, and where it comes from"]],
  "config show": [
    ["capmesh config show", ""],
    ["CAPMESH_SLOTS=3 capmesh config show --origin", "flag, environment, file or default"],
  ],
  bench: [
    ["capmesh bench", "the gateway of this machine"],
    ["capmesh bench --url http://gateway:8080 -n 500 --json", "another, for programs"],
  ],
  demo: [["capmesh demo", "takes about ten seconds, and leaves nothing behind"]],
};

/** Defines `help`, and gives every command its examples and its way of reporting slips. Called when all are defined. */
export function finishHelp(program: Command): void {
  program
    .command("help")
    .description("help for a command")
    .argument("[command...]", "its words, such as: task logs")
    .addHelpText("after", examplesText([["capmesh help task logs", ""]]))
    .action((words: readonly string[]) => findCommand(program, words).outputHelp());
  finish(program, []);
}

function finish(command: Command, path: readonly string[]): void {
  const name = ["capmesh", ...path].join(" ");
  const examples = EXAMPLES[path.join(" ")];
  if (examples !== undefined) command.addHelpText("after", examplesText(examples));
  // The program's own words are looked at by its action, which knows commands from slips.
  if (path.length > 0) command.allowExcessArguments(false);
  command.configureHelp({ subcommandTerm, formatHelp: commandsFirst });
  command.showHelpAfterError(`\`${name} --help\` shows how it is used`);
  command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "capmesh: ")) });
  for (const each of command.commands) finish(each, [...path, each.name()]);
}

const WIDTH_MAX = 80;

/** What each is for stands beside it where a terminal of usual width has room for that, else above it. */
function examplesText(examples: readonly (readonly [string, string])[]): string {
  const width = Math.max(...examples.map(([line]) => line.length));
  const beside = examples.map(([line, what]) => (what === "" ? `  ${line}` : `  ${line.padEnd(width)}   ${what}`));
  const above = examples.map(([line, what]) => (what === "" ? `  ${line}` : `  # ${what}\n  ${line}`));
  const lines = beside.every((line) => line.length <= WIDTH_MAX) ? beside : above;
  return `\nExamples:\n${lines.join("\n")}`;
}

function findCommand(program: Command, words: readonly string[]): Command {
  let found = program;
  words.forEach((word, index) => {
    const names = found.commands.map((command) => command.name());
    const next = found.commands.find((command) => command.name() === word);
    if (next === undefined) {
      const path = ["capmesh", ...words.slice(0, index)].join(" ");
      const nearest = closestName(word, names);
      const hint = nearest === undefined ? `there are: ${names.join(", ")}` : `did you mean ${nearest}?`;
      throw new UsageError(`\`${path}\` has no command ${JSON.stringify(word)}; ${hint}`);
    }
    found = next;
  });
  return found;
}

/** `cancel <id>`: that a command has options goes without saying. */
function subcommandTerm(command: Command): string {
  const args = command.registeredArguments.map((argument) =>
    argument.required ? ` <${argument.name()}>` : ` [${argument.name()}]`,
  );
  return `${command.name()}${command.parent?.parent === null ? "" : args.join("")}`;
}

/** Somebody who does not know the commands does not look for them below forty flags. */
function commandsFirst(command: Command, help: Help): string {
  const sections = new Help().formatHelp(command, help).trimEnd().split("\n\n");
  const isCommands = (section: string): boolean => section.startsWith("Commands:");
  const place = sections.findIndex((section) => section.startsWith("Options:"));
  const rest = sections.filter((section) => !isCommands(section));
  return `${rest.toSpliced(place, 0, ...sections.filter(isCommands)).join("\n\n")}\n`;
}
