/** `/metrics`, and what it shows of requests, of the queue and of the workers. */
import { type RequestHandler, Router } from "express";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { findEndpoint } from "../../../api/endpoints.ts";
import { WORKER_STATUSES } from "../../../model/worker.ts";
import type { QueueSize } from "../../../store/store.ts";
import { TROUBLE_KINDS } from "../../../store/trouble.ts";
import type { EventHub } from "../../events.ts";
import type { HttpContext } from "../http-context.ts";

const REQUEST_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30];

export class HttpMetrics implements Disposable {
  readonly #registry: Registry;
  readonly #subscription: Disposable;
  readonly #requests: Counter<"method" | "route" | "status">;
  readonly #seconds: Histogram<"method" | "route">;
  readonly #open: Gauge;

  /** What it adds to the registry stays there: a registry is one server's. */
  constructor(context: HttpContext, registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    this.#requests = new Counter({
      name: "capmesh_http_requests_total",
      help: "HTTP requests answered.",
      labelNames: ["method", "route", "status"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "capmesh_http_request_duration_seconds",
      help: "Time from a request's head to its answer's end; live streams are left out.",
      labelNames: ["method", "route"],
      buckets: REQUEST_SECONDS,
      registers,
    });
    this.#open = new Gauge({
      name: "capmesh_http_requests_open",
      help: "HTTP requests that are not answered yet, live streams included.",
      registers,
    });
    this.#subscription = countStates(context.events, registry);
    registerQueue(context, registry);
    registerWorkers(context, registry);
    registerStoreTrouble(context, registry);
    const build = new Gauge({
      name: "capmesh_build_info",
      help: "Always 1; the label says which program this is.",
      labelNames: ["version"],
      registers,
    });
    build.set({ version: context.version }, 1);
  }

  /** Counts each request when its answer has gone out. */
  observe({ clock }: HttpContext): RequestHandler {
    return (request, response, next) => {
      const startedMs = clock.monotonicMs();
      const { method, route } = labelsOf(request.method, request.path);
      this.#open.inc();
      response.on("close", () => {
        this.#open.dec();
        this.#requests.inc({ method, route, status: response.statusCode });
        const isLive = String(response.getHeader("content-type")).startsWith("text/event-stream");
        if (!isLive) this.#seconds.observe({ method, route }, (clock.monotonicMs() - startedMs) / 1_000);
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
  }
}

/** Both from fixed sets, whatever is asked for. */
function labelsOf(asked: string, path: string): { readonly method: string; readonly route: string } {
  const match = findEndpoint(asked, path);
  if (match.kind === "found") return { method: asked, route: match.endpoint.path };
  return { method: "other", route: match.kind };
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
    name: "capmesh_attempt_changes_total",
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

/** A store that does not answer leaves these out, and nothing else. */
function registerQueue({ store }: HttpContext, registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: "capmesh_runs",
    help: "Runs that are scheduled, ready (the queue's depth) and running.",
    labelNames: ["state"],
    registers,
    async collect() {
      this.reset();
      const counts = await store.countOpenRuns().catch(() => ({}));
      for (const [state, count] of Object.entries(counts)) this.set({ state }, count);
    },
  });
  const queue = (name: string, help: string, read: (size: QueueSize) => number) =>
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const size = await store.measureQueue().catch(() => undefined);
        this.set(size === undefined ? NaN : read(size));
      },
    });
  queue("capmesh_tasks_unfinished", "Tasks that are scheduled, ready or running.", ({ tasks }) => tasks);
  queue("capmesh_queue_bytes", "Arguments and input of unfinished tasks.", ({ bytes }) => bytes);
}

function registerWorkers({ workers, streams }: HttpContext, registry: Registry): void {
  new Gauge({
    name: "capmesh_workers",
    help: "Workers, by status.",
    labelNames: ["status"],
    registers: [registry],
    collect() {
      for (const status of WORKER_STATUSES) this.set({ status }, 0);
      for (const { status } of workers.list()) this.inc({ status });
    },
  });
  const all = () => workers.list();
  gauge(registry, "capmesh_slots", "Slots of all workers.", () => sum(all().map(({ state }) => state.slots)));
  gauge(registry, "capmesh_slots_busy", "Slots in use.", () => sum(all().map(({ state }) => state.busy)));
  gauge(registry, "capmesh_offers", "Free slots that wait for a run.", () => sum(all().map(({ offers }) => offers)));
  gauge(registry, "capmesh_attempts_running", "Attempts that workers are known to have.", () =>
    sum(all().map(({ running }) => running)),
  );
  gauge(registry, "capmesh_live_streams", "Live streams of events and logs.", () => streams.size);
}

function registerStoreTrouble({ storeHealth }: HttpContext, registry: Registry): void {
  new Gauge({
    name: "capmesh_store_trouble",
    help: "1 for what keeps the store from taking new work, 0 for what does not.",
    labelNames: ["kind"],
    registers: [registry],
    collect() {
      for (const kind of TROUBLE_KINDS) this.set({ kind }, Number(storeHealth.trouble() === kind));
    },
  });
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
