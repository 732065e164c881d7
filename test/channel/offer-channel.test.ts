import { describeOfferChannel } from "./offer-channel-contract.ts";

describeOfferChannel("in its own process", () => ({
  pass: (capability) => capability,
  [Symbol.asyncDispose]: async () => {},
}));
