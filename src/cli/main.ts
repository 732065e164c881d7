/** The program `capmesh`: runs the command line, and ends. */
import { describeError, exitCodeOf } from "./exit-code.ts";
import { Output } from "./output.ts";
import { makeProgram } from "./program.ts";
import { printable } from "./table.ts";

Output.prepareStreams();
try {
  await makeProgram().parseAsync(process.argv);
} catch (thrown) {
  const message = describeError(thrown);
  if (message !== "")
    process.stderr.write(
      `${message
        .split("\n")
        .map((line) => `capmesh: ${printable(line)}`)
        .join("\n")}\n`,
    );
  process.exitCode = exitCodeOf(thrown);
}
// What is left open must not hold the program, and what was written must get out.
for (const stream of [process.stdout, process.stderr]) await new Promise((flushed) => stream.write("", flushed));
process.exit();
