import { describe, expect, test } from "vitest";
import { GuestOutput } from "../../../src/worker/runner/child/guest-output.ts";
import { REPLY } from "../../../src/worker/runner/wire.ts";

const NAMES = new Map<number, string>([
  [REPLY.stdout, "out"],
  [REPLY.stderr, "err"],
  [REPLY.truncated, "truncated"],
]);
/** More than enough small writes for a flood. */
const MANY = 5_000;

/** The output of a guest whose writes take no time but what the test lets pass. */
class Written {
  readonly frames: string[] = [];
  readonly output: GuestOutput;
  nowMs = 0;

  constructor(bytesMax = 1_000_000, limit: "truncate" | "fail" = "truncate") {
    const writer = {
      send: (kind: number, payload: Uint8Array) => {
        this.frames.push(`${NAMES.get(kind)} ${Buffer.from(payload).toString()}`);
      },
    };
    const exit = {
      leave: ({ kind }: { readonly kind: string }): never => {
        throw new Error(kind);
      },
    };
    this.output = new GuestOutput(writer, exit, () => this.nowMs);
    this.output.reset(bytesMax, limit);
  }

  write(text: string, stream: "stdout" | "stderr" = "stdout"): this {
    this.output.write(stream, Buffer.from(text));
    return this;
  }

  /** Writes single bytes, a flood of them, and forgets the frames. */
  flood(): this {
    for (let count = 0; count < MANY; count++) this.write(".");
    this.output.flush();
    this.frames.length = 0;
    return this;
  }

  /** All that left, on either stream. */
  text(): string {
    return this.frames.map((frame) => frame.replace(/^\w+ /, "")).join("");
  }
}

describe("a guest's output", () => {
  test("leaves at once, small or large, line or not", () => {
    const written = new Written();
    written.write("a").write("b\n").write("c".repeat(100)).write("d", "stderr");
    expect(written.frames).toEqual(["out a", "out b\n", `out ${"c".repeat(100)}`, "err d"]);
  });

  test("is cut into frames that the pool takes", () => {
    const written = new Written().write("x".repeat(150_000));
    expect(written.frames.map((frame) => frame.length - 4)).toEqual([65_536, 65_536, 150_000 - 2 * 65_536]);
  });

  test("leaves in few frames when it is a flood of small writes", () => {
    const written = new Written();
    for (let count = 0; count < MANY; count++) written.write(String(count % 10));
    expect(written.frames.length).toBeLessThan(1_200);
    written.output.flush();
    expect(written.text()).toBe("0123456789".repeat(MANY / 10));
  });

  test("is held back by less than 64 small writes, however long a flood lasts", () => {
    const written = new Written();
    for (let count = 1; count <= MANY; count++) {
      written.write("x");
      expect(count - written.text().length).toBeLessThan(64);
    }
  });

  test("leaves at the end of each line, in a flood too", () => {
    const written = new Written().flood();
    written.write("a").write("b").write("\n").write("c\n").write("d");
    expect(written.frames).toEqual(["out ab\n", "out c\n"]);
  });

  test("leaves at once where small writes come slowly", () => {
    const written = new Written();
    for (let count = 0; count < MANY; count++) {
      written.nowMs += 1;
      written.write("x");
    }
    expect(written.frames).toHaveLength(MANY);
  });

  test("leaves at once again when a flood has become a trickle", () => {
    const written = new Written().flood();
    const trickle = (): void => {
      written.nowMs += 20;
      written.write("x");
    };
    for (let count = 0; count < 64; count++) trickle();
    written.frames.length = 0;
    trickle();
    expect(written.frames).toEqual(["out x"]);
  });

  test("keeps the order of both streams, and of small writes and large ones", () => {
    const large = "L".repeat(100);
    const written = new Written().flood();
    written.write("a").write("b", "stderr").write("c").write(large).write("d", "stderr");
    written.output.flush();
    expect(written.frames).toEqual(["out a", "err b", "out c", `out ${large}`, "err d"]);
  });

  test("is all there before it is said to be cut", () => {
    const written = new Written(MANY + 3).flood();
    written.write("a").write("b").write("cd").write("e");
    expect(written.frames).toEqual(["out abc", "truncated "]);
  });

  test("is all there when the guest is ended for it", () => {
    const written = new Written(MANY + 1, "fail").flood();
    written.write("a");
    expect(() => written.write("b")).toThrow("output-exceeded");
    expect(written.frames).toEqual(["out a", "truncated "]);
  });

  test("of one run is not held back into the next", () => {
    const written = new Written().flood();
    written.write("a");
    written.output.reset(10, "truncate");
    written.write("b");
    expect(written.frames).toEqual(["out b"]);
  });
});
