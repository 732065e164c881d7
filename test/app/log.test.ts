import { expect, test } from "vitest";
import { createLog } from "../../src/app/log.ts";

function capture(): { readonly lines: string[]; readonly destination: { write(text: string): void } } {
  const lines: string[] = [];
  return { lines, destination: { write: (text) => void lines.push(text) } };
}

test("writes one JSON object a line, with the fields of the log and of the call", () => {
  const { lines, destination } = capture();
  const log = createLog({ level: "info", format: "json", isColorful: false, destination });
  log.child({ part: "net" }).warn("a peer is slow", { peer: "p1" });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "warn", msg: "a peer is slow", part: "net", peer: "p1" });
});

test("leaves out what is below its level", () => {
  const { lines, destination } = capture();
  const log = createLog({ level: "warn", format: "json", isColorful: false, destination });
  log.debug("no");
  log.info("no");
  log.error("yes");
  expect(lines).toHaveLength(1);
});

test("prints stack and causes of what was thrown", () => {
  const { lines, destination } = capture();
  const log = createLog({ level: "info", format: "json", isColorful: false, destination });
  log.error("it broke", { error: new Error("outer", { cause: new Error("inner") }) });
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ error: { message: "outer", cause: { message: "inner" } } });
});
