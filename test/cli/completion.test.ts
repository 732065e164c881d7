/** The scripts are tried in their shells, where these are installed. */
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CommandLine } from "../support/command-line.ts";

test.each([
  ["capmesh to", ["token"]],
  ["capmesh task ", ["ls", "get", "logs", "cancel"]],
  ["capmesh token create --la", ["--label"]],
  ["capmesh --json task l", ["ls", "logs"]],
])("bash completes %j", async (typed, expected) => {
  await using line = await CommandLine.create();
  const script = await line.run(["completion", "bash"]);
  const path = join(line.home, "completion.bash");
  await writeFile(path, script.stdout);
  const words = typed.split(" ");
  const program = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _capmesh; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", program, "bash", path, ...words], { encoding: "utf8" });
  expect(stderr).toBe("");
  expect(stdout.split("\n")).toEqual(expect.arrayContaining(expected));
});

test.each([
  ["zsh", "#compdef capmesh"],
  ["fish", "complete -c capmesh"],
])("there is a script for %s", async (shell, part) => {
  await using line = await CommandLine.create();
  const script = await line.run(["completion", shell]);
  expect(script).toMatchObject({ code: 0, stdout: expect.stringContaining(part) });
  const path = join(line.home, `completion.${shell}`);
  await writeFile(path, script.stdout);
  const check = spawnSync(shell, ["-n", path], { encoding: "utf8" });
  // Not every machine has it.
  if (check.error !== undefined) console.warn(`no ${shell} here to read its script`);
  else expect(check.stderr).toBe("");
});

test("another shell is refused, and those that there are named", async () => {
  await using line = await CommandLine.create();
  const refused = await line.run(["completion", "tcsh"]);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("bash, zsh, fish") });
});
