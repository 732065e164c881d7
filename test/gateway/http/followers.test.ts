import { expect, test } from "vitest";
import { EventHub } from "../../../src/gateway/events.ts";
import { LogEvents } from "../../../src/gateway/http/log-events.ts";
import { LogTextReader } from "../../../src/gateway/http/log-text.ts";
import { SharedLogs } from "../../../src/gateway/http/shared-log.ts";
import type { OutputChunk, OutputPage } from "../../../src/store/store.ts";
import { taskId } from "../../support/api-gateway.ts";
import { measureFollowers } from "../../support/log-followers.ts";

const TASK = taskId("a");
const AT_START = { offset: 0, bytesMax: 100 };

function pageOf(text: string): OutputPage {
  const bytes = Buffer.from(text);
  const chunks: OutputChunk[] = [{ attempt: 1, stream: "stdout", offset: 0, bytes }];
  return { chunks, nextOffset: bytes.length, outputBytes: bytes.length, isComplete: false, isTruncated: false };
}

test(
  "200 readers of one log from another process get every line, in order and soon",
  { timeout: 120_000 },
  async () => {
    const followed = await measureFollowers({ followers: 200, linesPerSecond: 50, seconds: 2 });
    expect(followed).toMatchObject({ lines: 100, deliveries: 200 * 100, wrong: 0 });
    // A second is the promise; a machine that does much else at the same time gets more.
    expect(followed.p50).toBeLessThan(2_000);
  },
);

test("the store is asked once for readers at the same place, and again after each event", async () => {
  const events = new EventHub();
  let asked = 0;
  const readOutput = async () => pageOf(`page ${++asked}`);
  const logs = new SharedLogs({ store: { readOutput }, events });
  using one = logs.open(TASK);
  using other = logs.open(TASK);
  const pages = await Promise.all([one.readOutput(1, AT_START), other.readOutput(1, AT_START)]);
  expect([asked, pages[0] === pages[1]]).toEqual([1, true]);
  // What was asked before an event does not have what the event tells of.
  const before = one.readOutput(1, { ...AT_START, offset: 6 });
  events.publish({ type: "output", task: TASK, run: 1, outputBytes: 12 });
  const after = other.readOutput(1, { ...AT_START, offset: 6 });
  expect((await before) === (await after)).toBe(false);
  await one.readOutput(1, { ...AT_START, stream: "stderr" });
  await one.readOutput(2, AT_START);
  expect(asked).toBe(5);
});

test("a question that failed is asked again, and one that nobody reads any more is forgotten", async () => {
  const events = new EventHub();
  let asked = 0;
  const readOutput = async () => {
    if (++asked === 1) throw new Error("the disk is away");
    return pageOf("x");
  };
  const logs = new SharedLogs({ store: { readOutput }, events });
  {
    using log = logs.open(TASK);
    await expect(log.readOutput(1, AT_START)).rejects.toThrow("the disk is away");
    expect((await log.readOutput(1, AT_START))?.nextOffset).toBe(1);
    log[Symbol.dispose]();
  }
  using again = logs.open(TASK);
  await again.readOutput(1, AT_START);
  expect(asked).toBe(3);
});

test("readers in the middle of the same get the same bytes, and others what is theirs", () => {
  const encoder = new LogEvents();
  const bytes = Buffer.from("größe");
  const [head, tail] = [bytes.subarray(0, 3), bytes.subarray(3)];
  const first: OutputChunk[] = [{ attempt: 1, stream: "stdout", offset: 0, bytes: head }];
  const second: OutputChunk[] = [{ attempt: 1, stream: "stdout", offset: 3, bytes: tail }];
  const readers = [new LogTextReader(0), new LogTextReader(0)];
  const firsts = readers.map((reader) => encoder.encode(1, reader, first));
  const seconds = readers.map((reader) => encoder.encode(1, reader, second));
  expect(firsts[0]?.[0]).toBe(firsts[1]?.[0]);
  expect(seconds[0]?.[0]).toBe(seconds[1]?.[0]);
  expect(Buffer.concat(firsts[0] ?? []).toString()).toContain('"text":"gr"');
  expect(Buffer.concat(seconds[0] ?? []).toString()).toContain('"offset":2,"text":"öße"');
  // One that begins here has nothing of the character's beginning.
  const late = encoder.encode(1, new LogTextReader(3), second);
  expect(Buffer.concat([...late]).toString()).toContain('"offset":3,"text":"\uFFFDße"');
});

test("writes that follow each other are one event, and those of two streams are not", () => {
  const chunk = (stream: "stdout" | "stderr", offset: number, text: string): OutputChunk => ({
    attempt: 1,
    stream,
    offset,
    bytes: Buffer.from(text),
  });
  const chunks = [chunk("stdout", 0, "ab"), chunk("stdout", 2, "cd"), chunk("stderr", 4, "e"), chunk("stdout", 5, "f")];
  const pieces = new LogEvents().encode(1, new LogTextReader(0), chunks);
  const texts = Buffer.concat([...pieces])
    .toString()
    .match(/"text":"\w+"/g);
  expect(texts).toEqual(['"text":"abcd"', '"text":"e"', '"text":"f"']);
});
