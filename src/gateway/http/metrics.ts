/** `/metrics`: what happens here, for Prometheus. One registry per server, so that several may live in one process. */
import { type RequestHandler, Router } from "express";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { WORKER_STATUSES } from "../../model/worker.ts";
import type { EventHub } from "../events.ts";
import type { HttpContext } from "./http-context.ts";

const REQUEST_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30];

export class HttpMetrics implements Disposable {
  readonly #registry = new Registry();
  readonly #subscription: Disposable;
  readonly #requests = new Counter({
    name: "capmesh_http_requests_total",
    help: "HTTP requests answered.",
    labelNames: ["method", "status"],
    registers: [this.#registry],
  });
  readonly #seconds = new Histogram({
    name: "capmesh_http_request_seconds",
    help: "Time from a request's head to its answer's end; live streams are left out.",
    labelNames: ["method"],
    buckets: REQUEST_SECONDS,
    registers: [this.#registry],
  });

  readonly #open = new Gauge({
    name: "capmesh_http_requests_open",
    help: "HTTP requests that are not answered yet, live streams included.",
    registers: [this.#registry],
  });

  constructor(context: HttpContext) {
    this.#subscription = countStates(context.events, this.#registry);
    registerCluster(context, this.#registry);
    registerProcess(this.#registry, context.version);
  }

  /** Counts each request when its answer has gone out. */
  observe({ clock }: HttpContext): RequestHandler {
    return (request, response, next) => {
      const startedMs = clock.monotonicMs();
      this.#open.inc();
      response.on("close", () => {
        this.#open.dec();
        this.#requests.inc({ method: request.method, status: response.statusCode });
        const isLive = String(response.getHeader("content-type")).startsWith("text/event-stream");
        if (!isLive) this.#seconds.observe({ method: request.method }, (clock.monotonicMs() - startedMs) / 1_000);
      });
      next();
    };
  }

  router(): Router {
    const router = Router();
    router.get("/metrics", async (_request, response) => {
      response.setHeader("content-type", this.#registry.contentType);
      response.end(await this.#registry.metrics());
    });
    return router;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.#registry.clear();
  }
}

function countStates(events: EventHub, registry: Registry): Disposable {
  const registers = [registry];
  const tasks = new Counter({
    name: "capmesh_task_changes_total",
    help: "Changes of tasks, by the state they came to.",
    labelNames: ["state"],
    registers,
  });
  const runs = new Counter({
    name: "capmesh_run_changes_total",
    help: "Changes of runs, by the state they came to.",
    labelNames: ["state"],
    registers,
  });
  const attempts = new Counter({
    name: "capmesh_attempts_total",
    help: "Attempts that were lost, that a worker came back with in time, and too late.",
    labelNames: ["state"],
    registers,
  });
  for (const state of ["lost", "adopted", "refused"]) attempts.inc({ state }, 0);
  return events.subscribe((event) => {
    if (event.type === "attempt") attempts.inc({ state: event.state });
    if (event.type === "task") tasks.inc({ state: event.state });
    if (event.type === "run") runs.inc({ state: event.state });
  });
}

function registerCluster({ store, workers, streams }: HttpContext, registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: "capmesh_tasks_unfinished",
    help: "Tasks that are scheduled, ready or running.",
    registers,
    async collect() {
      this.set(await store.countUnfinishedTasks());
    },
  });
  new Gauge({
    name: "capmesh_workers",
    help: "Workers, by status.",
    labelNames: ["status"],
    registers,
    collect() {
      for (const status of WORKER_STATUSES) this.set({ status }, 0);
      for (const { status } of workers.list()) this.inc({ status });
    },
  });
  gauge(registry, "capmesh_slots", "Slots of all workers.", () => sum(workers.list().map(({ state }) => state.slots)));
  gauge(registry, "capmesh_slots_busy", "Slots in use.", () => sum(workers.list().map(({ state }) => state.busy)));
  gauge(registry, "capmesh_live_streams", "Live streams of events and logs.", () => streams.size);
}

function registerProcess(registry: Registry, version: string): void {
  const build = new Gauge({ name: "capmesh_build", help: "Always 1.", labelNames: ["version"], registers: [registry] });
  build.set({ version }, 1);
  gauge(registry, "process_resident_memory_bytes", "Memory of the process.", () => process.memoryUsage.rss());
  gauge(registry, "nodejs_heap_used_bytes", "JavaScript heap in use.", () => process.memoryUsage().heapUsed);
  gauge(registry, "process_cpu_seconds_total", "CPU time of the process.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  gauge(registry, "process_uptime_seconds", "Age of the process.", () => process.uptime());
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

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
