import type { Command } from "commander";
import { expect, test } from "vitest";
import { makeProgram } from "../../src/cli/program.ts";
import { CommandLine } from "../support/command-line.ts";

const WIDTH = 80;

function helpOf(command: Command): string {
  let help = "";
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  return help;
}

/** Every command that can be typed, by its words. */
function commandsOf(command: Command, path: readonly string[] = []): readonly (readonly [string, Command])[] {
  const below = command.commands.flatMap((each) => commandsOf(each, [...path, each.name()]));
  return path.length === 0 ? below : [[path.join(" "), command], ...below];
}

test("help lists the commands before the flags", () => {
  const help = helpOf(makeProgram());
  expect(help).toMatch(/^ {2}bench /m);
  expect(help.indexOf("Commands:")).toBeLessThan(help.indexOf("Options:"));
});

test.each(commandsOf(makeProgram()))("help of %s has examples, and fits a terminal", (_, command) => {
  const help = helpOf(command);
  expect(help).toContain("Examples:\n");
  expect(help.split("\n").filter((line) => line.length > WIDTH)).toEqual([]);
});

test("help of a command is that of --help", async () => {
  await using line = await CommandLine.create();
  const [asked, flag] = await Promise.all([line.run(["help", "task", "logs"]), line.run(["task", "logs", "--help"])]);
  expect(asked).toEqual(flag);
  expect(asked.stdout).toContain("Usage: capmesh task logs [options] <id>");
});
