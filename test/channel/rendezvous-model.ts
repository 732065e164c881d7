/**
 * A rendezvous beside a model of it. Each operation is done to both; `check` compares what can be seen, `finish` what
 * became of every value and every promise.
 */
import { expect } from "vitest";
import { type Offer, Rendezvous, type Sender } from "../../src/channel/rendezvous.ts";
import { settlePromises } from "../support/manual-clock.ts";

interface Item {
  readonly id: number;
}

export type Operation =
  /** Through the rendezvous itself, or through the facet of this number. */
  | { readonly kind: "send"; readonly facet: number | undefined }
  | { readonly kind: "send-aborted" }
  | { readonly kind: "recv" }
  /** Of the send, or receive, of this number (modulo their count), whatever has become of it. */
  | { readonly kind: "cancel-send"; readonly pick: number }
  /** The same, and another listener of the signal takes all it can before the rendezvous has heard of it. */
  | { readonly kind: "cancel-send-while-taking"; readonly pick: number }
  | { readonly kind: "cancel-recv"; readonly pick: number }
  /** The same, and another listener of the signal sends before the rendezvous has heard of it. */
  | { readonly kind: "cancel-recv-while-sending"; readonly pick: number }
  | { readonly kind: "cut-off"; readonly facet: number }
  | { readonly kind: "cut-off-while-taking"; readonly facet: number }
  | { readonly kind: "take-first" }
  | { readonly kind: "take-chosen"; readonly pick: number }
  /** An offer seen at some time before, gone or not. */
  | { readonly kind: "take-remembered"; readonly pick: number }
  | { readonly kind: "close" }
  | { readonly kind: "let-promises-run" };

export const FACETS = 3;

type Fate = "waiting" | "resolved" | "cancelled" | "closed";

/** A send or a receive: what the model says of it, and what its promise said. */
interface Call {
  readonly id: number;
  readonly facet: number | undefined;
  readonly abort: AbortController;
  /** Runs before the listener of the rendezvous. */
  beforeAbort: () => void;
  fate: Fate;
  /** Of a receive: the item that it must get. */
  gets: number | undefined;
  settled: string | undefined;
}

interface Facet {
  readonly sender: Sender<Item>;
  readonly abort: AbortController;
  beforeAbort: () => void;
  isCutOff: boolean;
}

const CANCELLED = new Error("cancelled by the test");

export class ModelledRendezvous {
  readonly #rendezvous = new Rendezvous<Item>({ drop: (item) => this.#dropped.push(item.id) });
  readonly #facets: readonly Facet[];
  readonly #sends: Call[] = [];
  readonly #receives: Call[] = [];
  /** Ids of values that were taken or received, and of those that were dropped, in order. */
  readonly #delivered: number[] = [];
  readonly #dropped: number[] = [];
  readonly #mustBeDropped: number[] = [];
  readonly #remembered: Offer<Item>[] = [];
  /** What was seen inside an abort listener, whose exceptions would not reach the test. */
  readonly #mismatches: string[] = [];
  #offersHeard = 0;
  #offersMade = 0;
  #isClosed = false;

  constructor() {
    this.#rendezvous.onOffer(() => this.#offersHeard++);
    this.#facets = Array.from({ length: FACETS }, () => {
      const abort = new AbortController();
      // The facet listens to the signal from its making on, so the test's listener has to be there before.
      const early = (): void => facet.beforeAbort();
      abort.signal.addEventListener("abort", early);
      const facet: Facet = {
        sender: this.#rendezvous.sender({ signal: abort.signal }),
        abort,
        beforeAbort: () => {},
        isCutOff: false,
      };
      return facet;
    });
  }

  async do(operation: Operation): Promise<void> {
    switch (operation.kind) {
      case "send":
        this.#send(operation.facet, false);
        break;
      case "send-aborted":
        this.#send(undefined, true);
        break;
      case "recv":
        this.#recv();
        break;
      case "cancel-send":
        this.#cancel(pickFrom(this.#sends, operation.pick));
        break;
      case "cancel-send-while-taking":
        this.#cancel(pickFrom(this.#sends, operation.pick), () => this.#takeAll());
        break;
      case "cancel-recv":
        this.#cancel(pickFrom(this.#receives, operation.pick));
        break;
      case "cancel-recv-while-sending":
        this.#cancel(pickFrom(this.#receives, operation.pick), () => this.#send(undefined, false));
        break;
      case "cut-off":
        this.#cutOff(operation.facet, false);
        break;
      case "cut-off-while-taking":
        this.#cutOff(operation.facet, true);
        break;
      case "take-first":
        this.#expectTaken(this.#rendezvous.tryTakeFirst(), this.#waiting()[0]);
        break;
      case "take-chosen": {
        const offer = pickFrom(this.#rendezvous.waiting(), operation.pick);
        if (offer !== undefined) this.#take(offer);
        break;
      }
      case "take-remembered": {
        const offer = pickFrom(this.#remembered, operation.pick);
        if (offer !== undefined) this.#take(offer);
        break;
      }
      case "close":
        this.#close();
        break;
      case "let-promises-run":
        await settlePromises();
    }
    this.#check();
  }

  /** Closes, and checks that every value has gone one way, and every promise been told the truth. */
  async finish(): Promise<void> {
    this.#close();
    this.#check();
    await settlePromises();
    for (const call of [...this.#sends, ...this.#receives]) {
      expect(call.settled, `call ${call.id}`).toBe(call.gets === undefined ? call.fate : `got ${call.gets}`);
    }
    expect(this.#dropped).toEqual(this.#mustBeDropped);
    const accounted = [...this.#delivered, ...this.#dropped].sort((a, b) => a - b);
    expect(accounted).toEqual(this.#sends.map((send) => send.id));
  }

  #send(facetIndex: number | undefined, isAborted: boolean): void {
    const facet = facetIndex === undefined ? undefined : this.#facets[facetIndex];
    const call = this.#call(this.#sends, facetIndex);
    if (isAborted) call.abort.abort(CANCELLED);
    const promise = (facet?.sender ?? this.#rendezvous).send({ id: call.id }, { signal: call.abort.signal });
    this.#watch(call, promise);
    const receiver = this.#receives.find((receive) => receive.fate === "waiting");
    if (isAborted || this.#isClosed || facet?.isCutOff) {
      // An abort is told before a closed channel, and that before a facet that was cut off.
      call.fate = isAborted ? "cancelled" : this.#isClosed ? "closed" : "cancelled";
      this.#mustBeDropped.push(call.id);
    } else if (receiver !== undefined) {
      call.fate = "resolved";
      receiver.fate = "resolved";
      receiver.gets = call.id;
      this.#delivered.push(call.id);
    } else {
      this.#offersMade++;
    }
    this.#remembered.push(...this.#rendezvous.waiting().slice(-1));
  }

  #recv(): void {
    const call = this.#call(this.#receives, undefined);
    const first = this.#waiting()[0];
    this.#watch(call, this.#rendezvous.recv({ signal: call.abort.signal }));
    if (this.#isClosed) {
      call.fate = "closed";
    } else if (first !== undefined) {
      first.fate = "resolved";
      call.fate = "resolved";
      call.gets = first.id;
      this.#delivered.push(first.id);
    }
  }

  #cancel(call: Call | undefined, meanwhile: () => void = () => {}): void {
    if (call === undefined || call.abort.signal.aborted) return;
    call.beforeAbort = () => {
      this.#vanish([call]);
      meanwhile();
    };
    call.abort.abort(CANCELLED);
  }

  #cutOff(index: number, takesFirst: boolean): void {
    const facet = this.#facets[index];
    if (facet === undefined || facet.isCutOff) return;
    facet.beforeAbort = () => {
      facet.isCutOff = true;
      this.#vanish(this.#sends.filter((send) => send.facet === index));
      if (takesFirst) this.#takeAll();
    };
    facet.abort.abort(CANCELLED);
  }

  /** What the model says at the moment at which the signal is aborted. */
  #vanish(calls: readonly Call[]): void {
    for (const call of calls) {
      if (call.fate !== "waiting") continue;
      call.fate = "cancelled";
      if (this.#sends.includes(call)) this.#mustBeDropped.push(call.id);
    }
  }

  /** By its first and by every offer ever seen, so that those of the senders being cancelled are among them. */
  #takeAll(): void {
    for (const offer of this.#remembered) this.#take(offer);
    this.#expectTaken(this.#rendezvous.tryTakeFirst(), this.#waiting()[0]);
  }

  #take(offer: Offer<Item>): void {
    const send = this.#sends.find((candidate) => candidate.id === offer.value.id);
    this.#expectTaken(this.#rendezvous.take(offer), send?.fate === "waiting" ? send : undefined);
  }

  #expectTaken(taken: Item | undefined, send: Call | undefined): void {
    if (taken !== undefined) this.#delivered.push(taken.id);
    if (send !== undefined) send.fate = "resolved";
    this.#mismatches.push(...(taken?.id === send?.id ? [] : [`took ${taken?.id}, the model ${send?.id}`]));
  }

  #close(): void {
    this.#rendezvous.close();
    for (const call of [...this.#sends, ...this.#receives]) {
      if (call.fate !== "waiting") continue;
      call.fate = "closed";
      if (this.#sends.includes(call)) this.#mustBeDropped.push(call.id);
    }
    this.#isClosed = true;
  }

  #waiting(): readonly Call[] {
    return this.#sends.filter((send) => send.fate === "waiting");
  }

  #check(): void {
    expect(this.#mismatches).toEqual([]);
    const waiting = this.#waiting().map((send) => send.id);
    expect(this.#rendezvous.waiting().map((offer) => offer.value.id)).toEqual(waiting);
    expect(this.#rendezvous.offersWaiting).toBe(waiting.length);
    expect(this.#rendezvous.receiversWaiting).toBe(
      this.#receives.filter((receive) => receive.fate === "waiting").length,
    );
    // Cut off and cancelled at once, values are dropped in the order of waiting.
    expect([...this.#dropped].sort((a, b) => a - b)).toEqual([...this.#mustBeDropped].sort((a, b) => a - b));
    expect(this.#offersHeard).toBe(this.#offersMade);
  }

  #call(calls: Call[], facet: number | undefined): Call {
    const call: Call = {
      id: calls.length,
      facet,
      abort: new AbortController(),
      beforeAbort: () => {},
      fate: "waiting",
      gets: undefined,
      settled: undefined,
    };
    call.abort.signal.addEventListener("abort", () => call.beforeAbort());
    calls.push(call);
    return call;
  }

  #watch(call: Call, promise: Promise<Item | void>): void {
    promise.then(
      (item) => {
        call.settled = item === undefined ? "resolved" : `got ${item.id}`;
      },
      (reason: unknown) => {
        call.settled = reason === CANCELLED ? "cancelled" : "closed";
      },
    );
  }
}

function pickFrom<T>(items: readonly T[], pick: number): T | undefined {
  return items.length === 0 ? undefined : items[pick % items.length];
}
