/** A conversation in which most of the protocol is said, and what each side said in it, frame by frame. */
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { EVERYTHING, readPlain, writePlain } from "../interop/everything.ts";
import { InteropServer, methods } from "../interop/interop-server.ts";
import { FrameReader } from "../../src/rpc/framing.ts";
import { memoryStreamPair } from "../support/memory-byte-stream.ts";
import { ask } from "./tester.ts";
import { connect, settle } from "./vats.ts";

/** What a client does, all of it at once as far as it can be. Rejects when the vat it calls does something else. */
export async function converse(main: Capability, local: InteropServer): Promise<void> {
  using callback = local.callback("called", 1);
  using to = local.capability();
  const answers = [
    ...objects(main),
    ...promises(main, callback, to),
    ask(
      main,
      methods.echo,
      (params) => writePlain(params._initAll(), EVERYTHING),
      (results) => readPlain(results.all),
    ),
    ask(
      main,
      methods.gather,
      (params) => {
        const boxes = params._initBoxes(2);
        boxes.get(0).label = "a label";
        setCapability(boxes.get(0)._initInner(), 0, callback);
        setCapability(boxes.get(1)._initInner(), 0, to);
      },
      (results) => results.boxes.map((box) => getCapability(box.inner, 0)?.[Symbol.dispose]()),
    ),
  ];
  await Promise.allSettled(answers);
}

function objects(main: Capability): Promise<unknown>[] {
  using selfing = main.call(methods.self);
  using self = selfing.pipeline(0);
  using naming = self.call(methods.named, (params) => (params.name = "a name"));
  using counter = naming.pipeline(0);
  const naming2 = counter.call(methods.name);
  const adding = counter.call(methods.add, (params) => (params.by = 3));
  const failing = main.call(methods.fail, (params) => (params.reason = "a reason"));
  const unknown = main.call({ ...methods.echo, methodId: 99 });
  const chunking = main.call(methods.chunk, (params) => params._initBytes(40));
  return [naming2, adding, failing, unknown, chunking].map(async (answer) => {
    using owned = answer;
    await owned.result();
  });
}

function promises(main: Capability, callback: Capability, to: Capability): Promise<unknown>[] {
  using promising = main.call(methods.promise);
  using promised = promising.pipeline(0);
  const calls = [1, 2].map((value) => promised.call(methods.call, (params) => (params.value = value)));
  const answers = [
    main.call(methods.fulfil, (params) => setCapability(params, 0, callback)),
    main.call(methods.hold, (params) => setCapability(params, 0, promised)),
    main.call(methods.callBack, (params) => {
      setCapability(params, 0, callback);
      params.times = 2;
    }),
    main.call(methods.forward, (params) => setCapability(params, 0, to)),
    main.call(methods.forward, (params) => setCapability(params, 0, main)),
    main.call(methods.held),
    main.call(methods.own),
  ];
  // Cancelled at once.
  main.call(methods.wait, (params) => (params.id = 1))[Symbol.dispose]();
  return [...calls, ...answers].map(async (answer) => {
    using owned = answer;
    await owned.result();
  });
}

export interface Recording {
  readonly ofClient: readonly Uint8Array[];
  readonly ofServer: readonly Uint8Array[];
}

/** All that is said, by the client and by the server, until both have closed. */
export async function recordConversation(): Promise<Recording> {
  const streams = memoryStreamPair();
  const said = [streams.a, streams.b].map((stream) => {
    const reader = new FrameReader();
    const frames: Uint8Array[] = [];
    const write = stream.write.bind(stream);
    stream.write = (bytes) => {
      reader.push(Uint8Array.from(bytes));
      let rest = Uint8Array.from(bytes);
      for (let frame = reader.next(); frame; frame = reader.next()) {
        frames.push(rest.subarray(0, frame.bytes));
        rest = rest.subarray(frame.bytes);
      }
      return write(bytes);
    };
    return frames;
  });
  using bootstrap = new InteropServer().capability();
  const server = connect(streams.a, bootstrap);
  const client = connect(streams.b);
  {
    using main = client.bootstrap();
    await converse(main, new InteropServer());
  }
  await settle();
  await client.close();
  await server.close();
  return { ofServer: said[0] ?? [], ofClient: said[1] ?? [] };
}
