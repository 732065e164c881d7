/**
 * `poll_oneoff`. The guest's files and streams never make it wait, so a poll either answers at once or is a plain sleep
 * until the nearest of its clocks; it sleeps in the kernel and never spins.
 */
import { ERRNO, refuse, WasiFailure } from "../files/errno.ts";
import type { Errno } from "../files/errno.ts";
import type { Preview1Host } from "./host.ts";
import { CLOCK, readClock } from "./process-calls.ts";
import { RIGHTS } from "./rights.ts";

const SUBSCRIPTION_BYTES = 48;
const SUBSCRIPTION_BYTES_UNSTABLE = 56;
const EVENT_BYTES = 32;
const EVENT_TYPE = { CLOCK: 0, FD_READ: 1, FD_WRITE: 2 } as const;
const ABSOLUTE = 1;
const HANGUP = 1;
const WRITE_ROOM_BYTES = 65_536n;
const SUBSCRIPTIONS_MAX = 4096;

interface Event {
  readonly userdata: bigint;
  readonly type: number;
  readonly errno: Errno;
  readonly bytes: bigint;
  /** Nothing more will come of what is read: `poll` of a C library tells it as `POLLHUP`. */
  readonly hasHungUp?: boolean;
}

interface ClockWait {
  readonly userdata: bigint;
  /** By the monotonic clock. */
  readonly dueNs: bigint;
}

export const POLL_CALLS = {
  poll_oneoff(host: Preview1Host, subscriptions: number, events: number, count: number, result: number): void {
    const from = subscriptions >>> 0;
    const total = count >>> 0;
    if (total === 0 || total > SUBSCRIPTIONS_MAX) refuse(ERRNO.INVAL);
    const size = host.isUnstable ? SUBSCRIPTION_BYTES_UNSTABLE : SUBSCRIPTION_BYTES;
    host.memory.slice(from, total * size);
    host.memory.slice(events >>> 0, total * EVENT_BYTES);
    host.memory.slice(result >>> 0, 4);
    const ready: Event[] = [];
    const waits: ClockWait[] = [];
    for (let index = 0; index < total; index++) readSubscription(host, from + index * size, ready, waits);
    if (ready.length === 0) sleepUntilFirst(host, waits);
    const nowNs = host.powers.monotonicNs();
    for (const wait of waits) {
      if (wait.dueNs <= nowNs) ready.push({ userdata: wait.userdata, type: EVENT_TYPE.CLOCK, errno: 0, bytes: 0n });
    }
    ready.forEach((event, index) => writeEvent(host, (events >>> 0) + index * EVENT_BYTES, event));
    host.memory.writeU32(result >>> 0, ready.length);
  },
};

function readSubscription(host: Preview1Host, at: number, ready: Event[], waits: ClockWait[]): void {
  const userdata = host.memory.readU64(at);
  const type = host.memory.readU8(at + 8);
  try {
    if (type === EVENT_TYPE.CLOCK) {
      waits.push({ userdata, dueNs: dueTime(host, host.isUnstable ? at + 24 : at + 16) });
    } else if (type === EVENT_TYPE.FD_READ || type === EVENT_TYPE.FD_WRITE) {
      const bytes = bytesReady(host, host.memory.readU32(at + 16), type);
      ready.push({ userdata, type, errno: ERRNO.SUCCESS, bytes, hasHungUp: bytes === 0n });
    } else {
      refuse(ERRNO.INVAL);
    }
  } catch (thrown) {
    if (!(thrown instanceof WasiFailure) || type > EVENT_TYPE.FD_WRITE) throw thrown;
    ready.push({ userdata, type, errno: thrown.errno, bytes: 0n });
  }
}

function dueTime(host: Preview1Host, at: number): bigint {
  const clock = host.memory.readU32(at);
  const timeoutNs = host.memory.readU64(at + 8);
  const isAbsolute = (host.memory.readU16(at + 24) & ABSOLUTE) !== 0;
  if (clock !== CLOCK.REALTIME && clock !== CLOCK.MONOTONIC) refuse(ERRNO.INVAL);
  return host.powers.monotonicNs() + (isAbsolute ? timeoutNs - readClock(host, clock) : timeoutNs);
}

function bytesReady(host: Preview1Host, fd: number, type: number): bigint {
  const right = type === EVENT_TYPE.FD_READ ? RIGHTS.FD_READ : RIGHTS.FD_WRITE;
  const descriptor = host.fds.getWith(fd, right | RIGHTS.POLL_FD_READWRITE);
  if (type === EVENT_TYPE.FD_WRITE) return WRITE_ROOM_BYTES;
  if (descriptor.kind === "stdin") return BigInt(Math.max(0, descriptor.bytes.length - descriptor.position));
  if (descriptor.kind === "file") return BigInt(Math.max(0, descriptor.inode.size - descriptor.position));
  return 0n;
}

function sleepUntilFirst(host: Preview1Host, waits: readonly ClockWait[]): void {
  let firstNs = waits[0]?.dueNs ?? 0n;
  for (const wait of waits) if (wait.dueNs < firstNs) firstNs = wait.dueNs;
  for (;;) {
    const leftNs = firstNs - host.powers.monotonicNs();
    if (leftNs <= 0n) return;
    host.powers.sleep(Number(leftNs) / 1e6);
  }
}

function writeEvent(host: Preview1Host, at: number, event: Event): void {
  host.memory.slice(at, EVENT_BYTES).fill(0);
  host.memory.writeU64(at, event.userdata);
  host.memory.writeU16(at + 8, event.errno);
  host.memory.writeU8(at + 10, event.type);
  host.memory.writeU64(at + 16, event.bytes);
  if (event.hasHungUp === true) host.memory.writeU16(at + 24, HANGUP);
}
