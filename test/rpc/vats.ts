/** Two vats over a stream in memory, and the end of every test that uses them: all tables of both are empty. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { silentLog } from "../../src/base/log.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ManualClock } from "../support/manual-clock.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import type { Capability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { type MemoryStreamOptions, type MemoryStreamPair, memoryStreamPair } from "../support/memory-byte-stream.ts";

/** Turns of the event loop that anything in memory is given to come to rest. */
const TURNS_MAX = 5_000;

/** Waits until the condition holds; fails with what `describe` says if it does not come to hold. */
export async function until(condition: () => boolean, describe: () => string = () => "a condition"): Promise<void> {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    if (condition()) return;
    await nextTurn();
  }
  throw new Error(`never came to hold: ${describe()}`);
}

/** Gives everything under way in memory time to arrive. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await nextTurn();
}

/** A connection whose clock stands still unless the test moves it. */
export function connect(stream: ByteStream, bootstrap?: Capability, clock: Clock = new ManualClock()): Connection {
  return new Connection({ stream, bootstrap, clock, log: silentLog });
}

export function isIdle(connection: Connection): boolean {
  const { questions, answers, exports, imports } = connection.stats();
  return questions + answers + exports + imports === 0;
}

export class VatPair implements AsyncDisposable {
  /** Of both vats. */
  readonly clock = new ManualClock();
  readonly streams: MemoryStreamPair;
  /** Serves `bootstrap`. */
  readonly server: Connection;
  readonly client: Connection;
  readonly #main: Capability;
  #mainOfServer: Capability | undefined;

  /** Takes both capabilities over. */
  constructor(bootstrap: Capability, options: MemoryStreamOptions = {}, clientBootstrap?: Capability) {
    this.streams = memoryStreamPair(options);
    this.server = connect(this.streams.a, bootstrap, this.clock);
    this.client = connect(this.streams.b, clientBootstrap, this.clock);
    bootstrap[Symbol.dispose]();
    clientBootstrap?.[Symbol.dispose]();
    this.#main = this.client.bootstrap();
  }

  /** The server's bootstrap capability, as the client has it. Disposed with the pair. */
  get main(): Capability {
    return this.#main;
  }

  /** The client's bootstrap capability, as the server has it. Disposed with the pair. */
  get mainOfClient(): Capability {
    this.#mainOfServer ??= this.server.bootstrap();
    return this.#mainOfServer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#main[Symbol.dispose]();
    this.#mainOfServer?.[Symbol.dispose]();
    try {
      await until(
        () => isIdle(this.server) && isIdle(this.client),
        () => `empty tables: ${JSON.stringify({ server: this.server.stats(), client: this.client.stats() })}`,
      );
    } finally {
      await this.client.close();
      await this.server.close();
      await this.streams[Symbol.asyncDispose]();
    }
  }
}
