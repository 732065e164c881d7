import { expect, test } from "vitest";
import { UploadSlots } from "../../../src/gateway/http/upload-slots.ts";

function takeAll(slots: UploadSlots, submitter: string): Disposable[] {
  const taken: Disposable[] = [];
  for (;;) {
    try {
      taken.push(slots.take(submitter));
    } catch {
      return taken;
    }
  }
}

test("one submitter gets half of all places, and those who come later half of the rest", () => {
  const slots = new UploadSlots(512);
  expect(["a", "b", "c"].map((submitter) => takeAll(slots, submitter).length)).toEqual([256, 128, 64]);
});

test("whoever has its share is told so, and that it is not the gateway that is full", () => {
  const slots = new UploadSlots(4);
  takeAll(slots, "a");
  expect(() => slots.take("a")).toThrow(expect.objectContaining({ problem: "rate-limited" }));
  slots.take("b");
  slots.take("c");
  expect(() => slots.take("d")).toThrow(expect.objectContaining({ problem: "not-ready" }));
});

test("a place is free again once, however often it is given back", () => {
  const slots = new UploadSlots(4);
  const [first] = takeAll(slots, "a");
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  expect(takeAll(slots, "a")).toHaveLength(1);
});
