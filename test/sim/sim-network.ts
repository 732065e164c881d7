/**
 * The network between the simulated machines: one link between each worker and the gateway, over which connections are
 * opened. Bytes of one connection keep their order, those of two do not; they come late, in odd pieces, at the pace of the
 * link, and while the link is cut, in one direction or both, not at all: they wait, as TCP has it, and who has waited for
 * too long gives the connection up without the other side's knowing.
 */
import { ClusterError, assert, disconnected } from "../../src/base/errors.ts";
import type { PeerId } from "../../src/base/ids.ts";
import { DIAL_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS, PING_EVERY_MS, PING_TIMEOUT_MS } from "../../src/base/limits.ts";
import { PEER_SILENT } from "../../src/rpc/byte-stream.ts";
import type { OpenedStream, RemotePeer, StreamHandler } from "../../src/net/host.ts";
import type { EventLoop } from "./event-loop.ts";
import type { Direction, Link } from "./sim-link.ts";
import { SimStream } from "./sim-stream.ts";
import type { SimProcess } from "./sim-process.ts";

/** The gateway's address: what listens there now. */
export class Listener {
  #open: { readonly process: SimProcess; readonly handler: StreamHandler } | undefined;

  get current(): { readonly process: SimProcess; readonly handler: StreamHandler } | undefined {
    return this.#open?.process.isDead === false ? this.#open : undefined;
  }

  /** The facet of a host that accepts. */
  hostOf(process: SimProcess): { onStream(handler: StreamHandler): Promise<void> } {
    return {
      onStream: (handler) => {
        this.#open = { process, handler };
        return Promise.resolve();
      },
    };
  }

  close(process: SimProcess): void {
    if (this.#open?.process === process) this.#open = undefined;
  }
}

/** A gateway, and what listens at its address. */
export interface GatewayPlace {
  readonly gateway: PeerId;
  readonly listener: Listener;
}

interface DialInit extends GatewayPlace {
  readonly loop: EventLoop;
  readonly link: Link;
  readonly process: SimProcess;
  readonly worker: PeerId;
}

/** The facet of a host that dials, in a worker's process. */
export function dialerHost({
  gateways,
  ...init
}: Omit<DialInit, keyof GatewayPlace> & { readonly gateways: readonly GatewayPlace[] }) {
  return {
    openStream: (
      { peerId }: { readonly peerId?: PeerId | undefined },
      { signal }: { signal?: AbortSignal | undefined } = {},
    ): Promise<OpenedStream> => {
      const place = gateways.find(({ gateway }) => gateway === peerId);
      assert(place !== undefined, "a worker dials gateways that it knows");
      return dial({ ...init, ...place }, signal);
    },
  };
}

function dial(init: DialInit, signal: AbortSignal | undefined): Promise<OpenedStream> {
  const { loop, link, listener, process } = init;
  const { promise, resolve, reject } = Promise.withResolvers<OpenedStream>();
  const fail = (reason: string): void =>
    process.deliver(() => reject(disconnected(`no connection: ${reason}`, { code: "unreachable" })));
  let isOver = false;
  const timeout = process.clock.setTimer(DIAL_TIMEOUT_MS, () => {
    isOver = true;
    fail("no answer");
  });
  const onAbort = (): void => {
    isOver = true;
    timeout[Symbol.dispose]();
    reject(signal?.reason);
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  void promise.then(
    () => signal?.removeEventListener("abort", onAbort),
    () => signal?.removeEventListener("abort", onAbort),
  );
  const arrive = (): void => {
    if (isOver || process.isDead) return;
    if (link.toGateway.isCut || link.toWorker.isCut) {
      const blocked = link.toGateway.isCut ? link.toGateway : link.toWorker;
      blocked.whenMended(() => loop.after(link.toGateway.delayMs(), arrive));
      return;
    }
    timeout[Symbol.dispose]();
    if (listener.current === undefined) {
      isOver = true;
      loop.after(link.toWorker.delayMs(), () => fail("refused"));
      return;
    }
    shakeHands(init, { isOver: () => isOver || process.isDead, end: () => (isOver = true), resolve, fail });
  };
  loop.after(link.toGateway.delayMs(), arrive);
  return promise;
}

interface Dialling {
  readonly isOver: () => boolean;
  readonly end: () => void;
  readonly resolve: (opened: OpenedStream) => void;
  readonly fail: (reason: string) => void;
}

/** Somebody listens: the gateway's process accepts when it gets to it, and the worker learns of it later. */
function shakeHands(init: DialInit, dialling: Dialling): void {
  const { loop, link, listener, process, worker, gateway } = init;
  const open = listener.current;
  if (open === undefined) return dialling.fail("refused");
  const timeout = process.clock.setTimer(HANDSHAKE_TIMEOUT_MS, () => {
    dialling.end();
    dialling.fail("the handshake took too long");
  });
  open.process.deliver(() => {
    const streams = connect(init, open.process);
    const remote: RemotePeer = { peerId: worker, addr: `/sim/${process.name}` };
    open.handler(streams.gatewayEnd, remote);
    const answer = (): void => {
      if (link.toWorker.isCut) {
        link.toWorker.whenMended(() => loop.after(link.toWorker.delayMs(), answer));
        return;
      }
      process.deliver(() => {
        timeout[Symbol.dispose]();
        if (dialling.isOver()) return streams.workerEnd.abort(disconnected("the dial was given up"));
        dialling.end();
        dialling.resolve({ stream: streams.workerEnd, remotePeerId: gateway, address: "/sim/gateway" });
      });
    };
    loop.after(link.toWorker.delayMs(), answer);
  });
}

function connect(init: DialInit, gatewayProcess: SimProcess): { gatewayEnd: SimStream; workerEnd: SimStream } {
  const { link, process } = init;
  const workerEnd = new SimStream(`to gateway of ${process.name}`, process, link.toGateway);
  const gatewayEnd = new SimStream(`from ${process.name}`, gatewayProcess, link.toWorker);
  workerEnd.join(gatewayEnd);
  gatewayEnd.join(workerEnd);
  link.connected({ gateway: gatewayEnd, worker: workerEnd });
  watch(workerEnd, process, link.toGateway, gatewayProcess, link.toWorker);
  watch(gatewayEnd, gatewayProcess, link.toWorker, process, link.toGateway);
  return { gatewayEnd, workerEnd };
}

/** Pings the other process, as a host does, and gives the connection up when no answer comes in time. */
function watch(end: SimStream, own: SimProcess, there: Direction, other: SimProcess, back: Direction): void {
  const { loop } = own;
  const send = (way: Direction, to: SimProcess, act: () => void): void => {
    if (way.isCut) return way.whenMended(() => send(way, to, act));
    loop.after(way.delayMs(), () => (way.isCut ? send(way, to, act) : to.deliver(act)));
  };
  const ping = (): void => {
    let isAnswered = false;
    const timer = own.clock.setTimer(PING_TIMEOUT_MS, () => {
      if (!isAnswered) end.abort(new ClusterError("disconnected", "ping timed out", { code: PEER_SILENT }));
    });
    send(there, other, () => {
      if (!end.knock()) return;
      send(back, own, () => {
        isAnswered = true;
        timer[Symbol.dispose]();
        arm();
      });
    });
    end.onOver(() => timer[Symbol.dispose]());
  };
  const arm = (): void => {
    if (end.isOver) return;
    const timer = own.clock.setTimer(PING_EVERY_MS, ping);
    end.onOver(() => timer[Symbol.dispose]());
  };
  arm();
}
