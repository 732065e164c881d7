/**
 * What is measured of the process, under the names that Prometheus clients and dashboards for Node agree on. One of these
 * belongs to a process; disposing it stops the measuring.
 */
import { readdir } from "node:fs/promises";
import { monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** How often the event loop's delay is sampled; what a sample shows beyond this is delay. */
const DELAY_RESOLUTION_MS = 10;
const GC_SECONDS = [0.001, 0.01, 0.1, 1, 2];
const NS = 1e9;

export class ProcessMetrics implements Disposable {
  readonly #owned = new DisposableStack();

  constructor(registry: Registry) {
    registerUse(registry);
    registerMemory(registry);
    this.#owned.use(eventLoopDelay(registry));
    this.#owned.use(collections(registry));
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

function registerUse(registry: Registry): void {
  const registers = [registry];
  const cpu = (name: string, help: string, seconds: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(seconds());
      },
    });
  cpu("process_cpu_user_seconds_total", "CPU time in user mode.", () => process.cpuUsage().user / 1e6);
  cpu("process_cpu_system_seconds_total", "CPU time in the kernel.", () => process.cpuUsage().system / 1e6);
  cpu("process_cpu_seconds_total", "CPU time of the process.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  gauge(registry, "process_start_time_seconds", "When the process began, since the Unix epoch.", () =>
    Math.round(performance.timeOrigin / 1_000),
  );
  new Gauge({
    name: "process_open_fds",
    help: "File descriptors that are open; 0 where that cannot be found out.",
    registers,
    async collect() {
      this.set((await readdir("/proc/self/fd").catch(() => [])).length);
    },
  });
  new Gauge({
    name: "nodejs_version_info",
    help: "Always 1.",
    labelNames: ["version"],
    registers,
  }).set({ version: process.version }, 1);
}

function registerMemory(registry: Registry): void {
  const use = (read: keyof NodeJS.MemoryUsage) => () => process.memoryUsage()[read];
  gauge(registry, "process_resident_memory_bytes", "Memory of the process.", () => process.memoryUsage.rss());
  gauge(registry, "nodejs_heap_size_total_bytes", "JavaScript heap, used or not.", use("heapTotal"));
  gauge(registry, "nodejs_heap_size_used_bytes", "JavaScript heap in use.", use("heapUsed"));
  gauge(
    registry,
    "nodejs_external_memory_bytes",
    "Memory of buffers and the like outside of the heap.",
    use("external"),
  );
}

/** Since it was last asked for. */
function eventLoopDelay(registry: Registry): Disposable {
  const histogram = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  histogram.enable();
  const delay = (ns: number): number => (Number.isFinite(ns) ? Math.max(0, ns / NS - DELAY_RESOLUTION_MS / 1_000) : 0);
  const when = "Delay of the event loop since this was last asked for";
  gauge(registry, "nodejs_eventloop_lag_mean_seconds", `${when}: the mean.`, () => delay(histogram.mean));
  gauge(registry, "nodejs_eventloop_lag_p50_seconds", `${when}: the median.`, () => delay(histogram.percentile(50)));
  gauge(registry, "nodejs_eventloop_lag_p99_seconds", `${when}: the 99th percentile.`, () =>
    delay(histogram.percentile(99)),
  );
  // The last one that is read begins anew.
  gauge(registry, "nodejs_eventloop_lag_max_seconds", `${when}: the longest.`, () => {
    const longest = delay(histogram.max);
    histogram.reset();
    return longest;
  });
  return { [Symbol.dispose]: () => void histogram.disable() };
}

function collections(registry: Registry): Disposable {
  const seconds = new Histogram({
    name: "nodejs_gc_duration_seconds",
    help: "Time that collecting garbage took.",
    buckets: GC_SECONDS,
    registers: [registry],
  });
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) seconds.observe(duration / 1_000);
  });
  observer.observe({ entryTypes: ["gc"] });
  return { [Symbol.dispose]: () => observer.disconnect() };
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
