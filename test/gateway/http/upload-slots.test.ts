import { expect, test } from "vitest";
import type { TokenId } from "../../../src/model/token.ts";
import { UploadSlots } from "../../../src/gateway/http/upload-slots.ts";

function byToken(name: string) {
  return { actor: `token:${name}`, token: name as TokenId };
}

function takeAll(slots: UploadSlots, name: string): Disposable[] {
  const taken: Disposable[] = [];
  for (;;) {
    try {
      taken.push(slots.take(byToken(name)));
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
  expect(() => slots.take(byToken("a"))).toThrow(expect.objectContaining({ problem: "rate-limited" }));
  slots.take(byToken("b"));
  slots.take(byToken("c"));
  expect(() => slots.take(byToken("d"))).toThrow(expect.objectContaining({ problem: "not-ready" }));
});

test("a place is free again once, however often it is given back", () => {
  const slots = new UploadSlots(4);
  const [first] = takeAll(slots, "a");
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  expect(takeAll(slots, "a")).toHaveLength(1);
});

test("who needs no token has all places", () => {
  const slots = new UploadSlots(4);
  for (let count = 0; count < 4; count++) slots.take({ actor: "local", token: undefined });
  expect(() => slots.take({ actor: "local", token: undefined })).toThrow(
    expect.objectContaining({ problem: "not-ready" }),
  );
});
