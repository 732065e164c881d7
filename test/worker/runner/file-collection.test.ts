/** What a runner that was taken over may send instead of files: each is seen for what it is, and nothing is passed on. */
import { describe, expect, test } from "vitest";
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX, RUNNER_OUTPUT_QUEUE_BYTES_MAX } from "../../../src/base/limits.ts";
import type { FileToKeep } from "../../../src/worker/guest.ts";
import { FileCollection } from "../../../src/worker/runner/file-collection.ts";
import { encodeCollectReport, encodeFileHead, REPLY } from "../../../src/worker/runner/wire.ts";

class Collected {
  readonly files = new Map<string, string>();
  readonly collection: FileCollection;
  resumed = 0;

  constructor(keep: (file: FileToKeep) => Promise<void> = (file) => this.#keep(file)) {
    this.collection = new FileCollection({ outputs: ["out/**"], keep }, () => void this.resumed++);
  }

  head(path: string, bytes: number): string | undefined {
    return this.collection.take(REPLY.file, encodeFileHead({ path, bytes }));
  }

  bytes(text: string): string | undefined {
    return this.collection.take(REPLY.fileBytes, Buffer.from(text));
  }

  end(exceeded?: string): string | undefined {
    return this.collection.take(REPLY.filesEnd, encodeCollectReport({ cpuMs: 1, exceeded }));
  }

  async #keep({ path, content }: FileToKeep): Promise<void> {
    this.files.set(path, Buffer.concat(await Array.fromAsync(content)).toString());
  }
}

describe("files from a runner", () => {
  test("are passed on as they were sent, in pieces or empty", async () => {
    const collected = new Collected();
    const problems = [
      collected.head("out/a", 5),
      collected.bytes("he"),
      collected.bytes("llo"),
      collected.head("out/b", 0),
      collected.end(),
    ];
    expect(problems).toEqual(Array(5).fill(undefined));
    expect(await collected.collection.verdict).toEqual({ kind: "collected", cpuMs: 1 });
    expect([...collected.files]).toEqual([
      ["out/a", "hello"],
      ["out/b", ""],
    ]);
  });

  test.each<[string, (collected: Collected) => string | undefined]>([
    ["a path that was not asked for", (collected) => collected.head("in/a", 1)],
    ["a path that leads out", (collected) => collected.head("out/../../etc/passwd", 1)],
    ["an absolute path", (collected) => collected.head("/out/a", 1)],
    ["no path", (collected) => collected.head("", 1)],
    ["a length below nothing", (collected) => collected.head("out/a", -1)],
    ["a length that is no number", (collected) => collected.head("out/a", Number.NaN)],
    ["too many bytes", (collected) => collected.head("out/a", KEPT_FILES_BYTES_MAX + 1)],
    ["a head that is cut short", ({ collection }) => collection.take(REPLY.file, new Uint8Array(7))],
    ["bytes without a file", (collected) => collected.bytes("x")],
    ["more bytes than announced", (collected) => collected.head("out/a", 1) ?? collected.bytes("xy")],
    ["a file inside another", (collected) => collected.head("out/a", 1) ?? collected.head("out/b", 1)],
    ["an end inside a file", (collected) => collected.head("out/a", 1) ?? collected.end()],
    ["a file twice", (collected) => collected.head("out/a", 0) ?? collected.head("out/a", 0)],
    ["a file after the end", (collected) => collected.end() ?? collected.head("out/a", 0)],
    ["a second end", (collected) => collected.end() ?? collected.end()],
    ["an end that is none", ({ collection }) => collection.take(REPLY.filesEnd, Buffer.from("[1]"))],
    ["another kind of frame", ({ collection }) => collection.take(REPLY.stdout, Buffer.from("x"))],
  ])("are refused when there is %s", (_, send) => {
    expect(send(new Collected())).toEqual(expect.any(String));
  });

  test("are refused when they are too many", () => {
    const collected = new Collected();
    for (let index = 0; index < KEPT_FILES_MAX; index++) expect(collected.head(`out/${index}`, 0)).toBeUndefined();
    expect(collected.head("out/more", 0)).toEqual(expect.any(String));
  });

  test("that are too many by the runner's own word come to nothing, with its reason", async () => {
    const collected = new Collected();
    collected.end("too much");
    expect(await collected.collection.verdict).toEqual({ kind: "exceeded", reason: "too much", cpuMs: 1 });
  });

  test("are held back while nobody takes them, and welcome again when somebody does", async () => {
    const taken = Promise.withResolvers<void>();
    const collected = new Collected(async ({ content }) => {
      await taken.promise;
      await Array.fromAsync(content);
    });
    const bytes = RUNNER_OUTPUT_QUEUE_BYTES_MAX + 1;
    collected.head("out/a", bytes);
    collected.bytes("x".repeat(bytes));
    expect(collected.collection.isFull).toBe(true);
    taken.resolve();
    collected.end();
    await collected.collection.verdict;
    expect(collected.collection.isFull).toBe(false);
    expect(collected.resumed).toBeGreaterThan(0);
  });

  test("are held back together, however small each is", async () => {
    const taken = Promise.withResolvers<void>();
    const collected = new Collected(async ({ content }) => {
      await taken.promise;
      await Array.fromAsync(content);
    });
    const bytes = 65_536;
    const fitting = Math.floor(RUNNER_OUTPUT_QUEUE_BYTES_MAX / bytes);
    for (let index = 0; index <= fitting; index++) {
      expect(collected.collection.isFull).toBe(false);
      collected.head(`out/${index}`, bytes);
      collected.bytes("x".repeat(bytes));
    }
    expect(collected.collection.isFull).toBe(true);
    taken.resolve();
    collected.end();
    await collected.collection.verdict;
    expect(collected.collection.isFull).toBe(false);
    expect(collected.resumed).toBe(fitting + 1);
  });

  test("end with the runner, in the middle of one or between two", async () => {
    const broken = new Collected();
    broken.head("out/a", 2);
    broken.bytes("x");
    broken.collection.end("it was killed");
    await expect(broken.collection.verdict).rejects.toThrow("in the middle of a file: it was killed");
    const between = new Collected();
    between.head("out/a", 0);
    between.collection.end("it was killed");
    expect(await between.collection.verdict).toEqual({ kind: "died", reason: "it was killed" });
  });
});
