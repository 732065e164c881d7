import { expect, test } from "vitest";
import { ByteBudget } from "../../../src/gateway/http/byte-budget.ts";
import { fc } from "../../support/properties.ts";

test("gives no more than there is, whatever is taken and given back, and has all again at the end", () => {
  const step = fc.record({ share: fc.nat(3), bytes: fc.nat(80), isTaking: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const budget = new ByteBudget(100);
      const shares = Array.from({ length: 4 }, () => ({ share: budget.openShare(), bytes: 0 }));
      for (const { share: index, bytes, isTaking } of steps) {
        const held = shares[index];
        if (held === undefined) continue;
        if (!isTaking) {
          held.share.giveBack(bytes);
          held.bytes = Math.max(0, held.bytes - bytes);
        } else if (held.share.take(bytes)) held.bytes += bytes;
        expect(budget.freeBytes).toBe(100 - shares.reduce((sum, { bytes: count }) => sum + count, 0));
        expect(budget.freeBytes).toBeGreaterThanOrEqual(0);
      }
      for (const { share } of shares) share[Symbol.dispose]();
      for (const { share } of shares) share[Symbol.dispose]();
      expect(budget.freeBytes).toBe(100);
    }),
  );
});
