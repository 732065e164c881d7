import { describeOfferChannel } from "./channel-server-contract.ts";

describeOfferChannel("in its own process", () => ({
  pass: (capability) => capability,
  [Symbol.asyncDispose]: async () => {},
}));
