/** Preview 1 calls about the process itself: arguments, environment, clocks, randomness, its end; and the sockets it has not. */
import { ERRNO, refuse } from "../files/errno.ts";
import type { Preview1Host } from "./host.ts";

export const CLOCK = { REALTIME: 0, MONOTONIC: 1, PROCESS_CPU: 2, THREAD_CPU: 3 } as const;
const RANDOM_CHUNK_BYTES = 65_536;
const SIGNALS_MAX = 30;

export const PROCESS_CALLS = {
  args_get(host: Preview1Host, pointers: number, buffer: number): void {
    writeStrings(host, host.args, pointers >>> 0, buffer >>> 0);
  },

  args_sizes_get(host: Preview1Host, count: number, bytes: number): void {
    writeSizes(host, host.args, count >>> 0, bytes >>> 0);
  },

  environ_get(host: Preview1Host, pointers: number, buffer: number): void {
    writeStrings(host, host.env, pointers >>> 0, buffer >>> 0);
  },

  environ_sizes_get(host: Preview1Host, count: number, bytes: number): void {
    writeSizes(host, host.env, count >>> 0, bytes >>> 0);
  },

  clock_res_get(host: Preview1Host, clock: number, result: number): void {
    readClock(host, clock);
    host.memory.writeU64(result >>> 0, 1000n);
  },

  clock_time_get(host: Preview1Host, clock: number, _precision: bigint, result: number): void {
    host.memory.writeU64(result >>> 0, readClock(host, clock));
  },

  random_get(host: Preview1Host, address: number, length: number): void {
    const bytes = host.memory.slice(address >>> 0, length >>> 0);
    for (let at = 0; at < bytes.length; at += RANDOM_CHUNK_BYTES) {
      host.powers.fillRandom(bytes.subarray(at, at + RANDOM_CHUNK_BYTES));
    }
  },

  sched_yield(_host: Preview1Host): void {},

  proc_exit(host: Preview1Host, code: number): void {
    host.exit(code >>> 0);
  },

  proc_raise(host: Preview1Host, signal: number): void {
    if (signal < 0 || signal > SIGNALS_MAX) refuse(ERRNO.INVAL);
    if (signal !== 0) host.raise(signal);
  },

  sock_accept(host: Preview1Host, fd: number, _flags: number, _result: number): void {
    refuseSocket(host, fd);
  },

  sock_recv(host: Preview1Host, fd: number, ..._rest: number[]): void {
    refuseSocket(host, fd);
  },

  sock_send(host: Preview1Host, fd: number, ..._rest: number[]): void {
    refuseSocket(host, fd);
  },

  sock_shutdown(host: Preview1Host, fd: number, _how: number): void {
    refuseSocket(host, fd);
  },
};

/** A clock's time in nanoseconds; EINVAL for one that does not exist. */
export function readClock(host: Preview1Host, clock: number): bigint {
  switch (clock) {
    case CLOCK.REALTIME:
      return host.powers.realtimeNs();
    case CLOCK.MONOTONIC:
      return host.powers.monotonicNs();
    case CLOCK.PROCESS_CPU:
    case CLOCK.THREAD_CPU:
      return host.powers.cpuNs();
    default:
      return refuse(ERRNO.INVAL);
  }
}

/** No descriptor is a socket. A directory is no place for bytes of any kind, which is how other hosts answer, too. */
function refuseSocket(host: Preview1Host, fd: number): never {
  refuse(host.fds.get(fd).kind === "directory" ? ERRNO.BADF : ERRNO.NOTSOCK);
}

function writeStrings(host: Preview1Host, strings: readonly Uint8Array[], pointers: number, buffer: number): void {
  let at = buffer;
  strings.forEach((bytes, index) => {
    host.memory.writeU32(pointers + 4 * index, at);
    host.memory.writeBytes(at, bytes);
    host.memory.writeU8(at + bytes.length, 0);
    at += bytes.length + 1;
  });
}

function writeSizes(host: Preview1Host, strings: readonly Uint8Array[], count: number, bytes: number): void {
  host.memory.writeU32(count, strings.length);
  host.memory.writeU32(
    bytes,
    strings.reduce((sum, string) => sum + string.length + 1, 0),
  );
}
