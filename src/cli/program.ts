/** The command line, put together: each command has a file of its own. */
import { Command } from "commander";
import { closestName } from "../api/closest.ts";
import { VERSION } from "../app/version.ts";
import { defineBench } from "./bench.ts";
import { defineCluster } from "./cluster.ts";
import { defineSettings, processSettings } from "./command-context.ts";
import { defineCompletion } from "./completion.ts";
import { defineConfig } from "./config.ts";
import { defineDemo } from "./demo.ts";
import { defineDoctor } from "./doctor.ts";
import { finishHelp } from "./help.ts";
import { defineModule } from "./module.ts";
import { defineRun } from "./run.ts";
import { startRole } from "./start.ts";
import { defineTask } from "./task.ts";
import { defineAudit, defineToken } from "./token.ts";
import { defineSecret } from "./secret.ts";
import { defineWorker } from "./worker.ts";

/** Parsing runs what was asked for, which sets the exit code; a slip, and help, are thrown as CommanderError. */
export function makeProgram(): Command {
  const program = new Command("capmesh")
    .description("Runs WebAssembly programs on a cluster of machines you own.")
    .version(VERSION)
    .usage("--gateway | --dial <where> | <command>  [options]")
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .helpCommand(false)
    .exitOverride();
  defineSettings(program, [...processSettings(), "url"]);
  program.allowExcessArguments().action(async () => {
    const [unknown] = program.args;
    if (unknown !== undefined) refuseUnknownCommand(program, unknown);
    process.exitCode = await startRole(program);
  });
  const up = program
    .command("up")
    .description("a gateway and a worker in one process, in the data directory of a gateway");
  defineSettings(
    up,
    processSettings().filter((key) => key !== "gateway" && key !== "dial"),
  ).action(async () => {
    process.exitCode = await startRole(up, "up");
  });
  defineRun(program);
  defineTask(program);
  defineModule(program);
  defineWorker(program);
  defineSecret(program);
  defineCluster(program);
  defineToken(program);
  defineAudit(program);
  defineConfig(program);
  defineDemo(program);
  defineBench(program);
  defineDoctor(program);
  defineCompletion(program);
  finishHelp(program);
  return program;
}

function refuseUnknownCommand(program: Command, name: string): never {
  const nearest = closestName(
    name,
    program.commands.map((command) => command.name()),
  );
  const hint = nearest === undefined ? "`capmesh --help` lists them" : `did you mean ${nearest}?`;
  program.error(`error: unknown command '${name}'; ${hint}`);
}
