/** Tokens and the audit log of a gateway in a test. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { AuditLog } from "../../src/gateway/audit.ts";
import { Tokens } from "../../src/gateway/tokens.ts";
import type { CredentialStore } from "../../src/store/credential-store.ts";

export interface TestAccessInit {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly rootToken?: string | undefined;
}

/** To be disposed before the store closes. */
export class TestAccess implements AsyncDisposable {
  readonly tokens: Tokens;
  readonly audit: AuditLog;

  static async open({ store, clock, rootToken }: TestAccessInit): Promise<TestAccess> {
    const audit = new AuditLog({ store, clock, log: silentLog });
    return new TestAccess(await Tokens.open({ store, audit, rootToken, randomBytes, clock }), audit);
  }

  private constructor(tokens: Tokens, audit: AuditLog) {
    this.tokens = tokens;
    this.audit = audit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tokens[Symbol.dispose]();
    await this.audit.close();
  }
}
