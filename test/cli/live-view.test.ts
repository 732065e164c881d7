import { expect, test } from "vitest";
import { LiveView, progressBar } from "../../src/cli/live-view.ts";

function terminal(isTerminal = true): { readonly written: string[]; readonly view: LiveView } {
  const written: string[] = [];
  return { written, view: new LiveView({ write: (text) => void written.push(text), isTerminal, width: () => 20 }) };
}

test("draws over what it drew before", () => {
  const { written, view } = terminal();
  view.update(["one", "two"]);
  view.update(["three"]);
  expect(written).toEqual(["one\ntwo\n", "\u001b[2F\u001b[0Jthree\n"]);
});

test("steps aside for other output and comes back below it", async () => {
  const { written, view } = terminal();
  view.update(["bar"]);
  await view.above("text\n", () => void written.push("text\n"));
  expect(written).toEqual(["bar\n", "\u001b[1F\u001b[0J", "text\n", "bar\n"]);
});

test("waits with drawing until a line of other output is complete", async () => {
  const { written, view } = terminal();
  view.update(["bar"]);
  await view.above("te", () => void written.push("te"));
  view.update(["bar 2"]);
  await view.above("xt\n", () => void written.push("xt\n"));
  expect(written.slice(2)).toEqual(["te", "xt\n", "bar 2\n"]);
});

test("keeps off the terminal while somebody else has it", () => {
  const { written, view } = terminal();
  view.update(["bar"]);
  view.pause();
  view.update(["bar 2"]);
  expect(written.slice(1)).toEqual(["\u001b[1F\u001b[0J"]);
  view.resume();
  expect(written.slice(2)).toEqual(["bar 2\n"]);
});

test("goes away for good", () => {
  const { written, view } = terminal();
  view.update(["bar"]);
  view.clear();
  view.clear();
  expect(written).toEqual(["bar\n", "\u001b[1F\u001b[0J"]);
});

test("draws nothing off a terminal", async () => {
  const { written, view } = terminal(false);
  view.update(["bar"]);
  await view.above("x\n", () => void written.push("x\n"));
  view.clear();
  expect(written).toEqual(["x\n"]);
});

test("cuts lines to the terminal, which would wrap them", () => {
  const { written, view } = terminal();
  view.update(["x".repeat(50)]);
  expect(written).toEqual([`${"x".repeat(18)}…\n`]);
});

test.each([
  [0, "░░░░   0 %"],
  [0.5, "██░░  50 %"],
  [0.999, "████  99 %"],
  [1, "████ 100 %"],
  [7, "████ 100 %"],
])("a bar shows %d", (progress, text) => expect(progressBar(progress, 4)).toBe(text));
