import { expect, test } from "vitest";
import { ApiGateway, hasNoTasks } from "../../support/api-gateway.ts";
import { fc } from "../../support/properties.ts";

const head = fc.constantFrom(
  'Content-Disposition: form-data; name="wasm"; filename="a.wasm"',
  'Content-Disposition: form-data; name="stdin"; filename="b"',
  'Content-Disposition: form-data; name="constructor"; filename="c"',
  'Content-Disposition: form-data; name="id"',
  'Content-Disposition: form-data; name="__proto__"',
  'Content-Disposition: form-data; name=""',
  "Content-Disposition: form-data",
  "Content-Disposition: form-data; name*=utf-99''x; filename*=x''%zz",
  'Content-Disposition: form-data; name="description"\r\nContent-Type: text/plain; charset=bogus',
  'Content-Disposition: form-data; name="description"\r\nContent-Type: text/plain; charset=utf-16le',
  "Content-Type: ;;;",
  `X: ${"y".repeat(20_000)}`,
  "nonsense",
);
const lineEnd = fc.oneof(
  { weight: 12, arbitrary: fc.constant("\r\n") },
  { weight: 1, arbitrary: fc.constantFrom("\n", "") },
);
const content = fc.constantFrom("\0asm\u0001\0\0\0", "abc", "", "--b", "\r\n--", "\u00ff\u00fe");
const part = fc
  .tuple(fc.constantFrom("--b\r\n", "--b"), fc.array(head, { minLength: 1, maxLength: 2 }), lineEnd, content, lineEnd)
  .map(([start, heads, gap, text, end]) => `${start}${heads.join("\r\n")}${gap}${gap}${text}${end}`);
const body = fc
  .tuple(
    fc.array(part, { maxLength: 4 }),
    fc.constantFrom("--b--\r\n", ""),
    fc.double({ min: 0.5, max: 1, noNaN: true }),
  )
  .map(([parts, end, kept]) => {
    const bytes = Buffer.from(parts.join("") + end, "latin1");
    return bytes.subarray(0, Math.ceil(bytes.length * kept));
  });

test("whatever comes as a form is answered, and leaves nothing behind", async () => {
  await using gateway = await ApiGateway.open();
  await fc.assert(
    fc.asyncProperty(body, async (bytes) => {
      const response = await fetch(`${gateway.url}/tasks`, {
        method: "POST",
        body: Uint8Array.from(bytes),
        headers: { "content-type": "multipart/form-data; boundary=b" },
      });
      expect([400, 413, 415, 422]).toContain(response.status);
      await response.arrayBuffer();
    }),
    { numRuns: 400 },
  );
  expect(await hasNoTasks(gateway.store)).toBe(true);
  expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
}, 120_000);
