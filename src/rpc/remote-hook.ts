/** Objects at the other end of a connection, as far as all kinds of them are alike. */
import { type Call, type PendingCall, PromiseHook } from "./hook.ts";
import type { MessageTarget } from "./message.ts";

/** What sends calls on a connection. Also tells whether two objects are at the end of the same one. */
export interface Caller {
  /** Takes the call's parameters over. The caller owns one reference to what is returned. */
  call(target: MessageTarget, call: Call): PendingCall;
}

/**
 * Something that calls can be addressed to over a connection: an import, or a place in an answer to come. A promise of it
 * may resolve to something nearer. An import that is no promise resolves too, to a broken capability: when its connection
 * ends.
 */
export abstract class RemoteHook extends PromiseHook {
  readonly caller: Caller;
  abstract readonly address: MessageTarget;
  /** Calls may be on their way to this address, so that what it resolves to must not be called before they are through. */
  hasTraffic = false;

  constructor(caller: Caller) {
    super();
    this.caller = caller;
  }

  protected callUnresolved(call: Call): PendingCall {
    this.hasTraffic = true;
    return this.caller.call(this.address, call);
  }
}
