/** The C++ server as tests of our vat call it. */
import { randomUUID } from "node:crypto";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { connectSocket, parseSocketAddress } from "../../src/net/socket-endpoint.ts";
import type { Capability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { ask } from "../rpc/tester.ts";
import { isIdle } from "../rpc/vats.ts";
import { type Plain, readPlain, writePlain } from "./everything.ts";
import { methods } from "./interop-server.ts";
import { Program, type Programs } from "./programs.ts";

export const KINDS = ["tcp", "unix"] as const;
type Kind = (typeof KINDS)[number];

/** Where to listen. */
export function freshAddress(programs: Programs, kind: Kind): string {
  return kind === "tcp" ? "tcp:127.0.0.1:0" : `unix:${programs.folder}/${randomUUID().slice(0, 8)}.sock`;
}

/** Waits for something at another process. */
export async function eventually(condition: () => boolean | Promise<boolean>, describeIt: () => string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never came to hold: ${describeIt()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The C++ server, and a connection of ours with it. All tables of ours are empty in the end. */
export class CppServer implements AsyncDisposable {
  readonly connection: Connection;
  readonly process: Program;
  readonly main: Capability;

  private constructor(process: Program, connection: Connection) {
    this.process = process;
    this.connection = connection;
    this.main = connection.bootstrap();
  }

  static async start(programs: Programs, kind: Kind): Promise<CppServer> {
    const address = freshAddress(programs, kind);
    const argument = kind === "tcp" ? "127.0.0.1" : address;
    const process = new Program(programs.path("server"), [argument]);
    const port = await process.firstLine();
    const actual = parseSocketAddress(kind === "tcp" ? `tcp:127.0.0.1:${port}` : address);
    const stream = await connectSocket({ address: actual, clock: systemClock });
    return new CppServer(process, new Connection({ stream, clock: systemClock, log: silentLog }));
  }

  events(): Promise<string[]> {
    return ask(
      this.main,
      methods.events,
      () => undefined,
      (results) => results.events.map((event) => event),
    );
  }

  async expectEvent(event: string): Promise<void> {
    let seen: string[] = [];
    await eventually(
      async () => (seen = await this.events()).includes(event),
      () => `${event} among ${seen.join(", ")}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.main[Symbol.dispose]();
    try {
      await eventually(
        () => isIdle(this.connection),
        () => `empty tables: ${JSON.stringify(this.connection.stats())}`,
      );
    } finally {
      await this.connection.close();
      await this.process[Symbol.asyncDispose]();
    }
  }
}

export function echoOf(main: Capability, plain: Plain): Promise<Plain> {
  return ask(
    main,
    methods.echo,
    (params) => writePlain(params._initAll(), plain),
    (results) => readPlain(results.all),
  );
}

export function callOf(callback: Capability, value: number): Promise<number> {
  return ask(
    callback,
    methods.call,
    (params) => (params.value = value),
    (results) => results.value,
  );
}

export function addOf(counter: Capability, by: number): Promise<number> {
  return ask(
    counter,
    methods.add,
    (params) => (params.by = by),
    (results) => results.value,
  );
}
