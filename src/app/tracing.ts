/**
 * Traces over OTLP, as the usual OTEL_* variables say; without them nothing of it is loaded. OpenTelemetry reads the
 * variables for the exporter (endpoint, headers, timeout), the sampler and the batches itself.
 */
import { randomUUID } from "node:crypto";
import type * as Api from "@opentelemetry/api";
import type { Log } from "../base/log.ts";
import {
  NO_TRACER,
  type Span,
  type SpanKind,
  type SpanOptions,
  type Tracer,
  parseTraceparent,
} from "../base/tracing.ts";
import type { Powers } from "./app.ts";
import { VERSION } from "./version.ts";

export interface TracingInit {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The service's name, if the environment has none. */
  readonly service: string;
  readonly log: Log;
}

/** Disposing it sends what is left, for as long as the exporter's timeout allows. Never rejects. */
export interface Tracing extends AsyncDisposable {
  readonly tracer: Tracer;
}

const OFF: Tracing = { tracer: NO_TRACER, [Symbol.asyncDispose]: async () => {} };

/** Whether the environment asks for traces. */
export function wantsTraces(env: TracingInit["env"]): boolean {
  if (env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true") return false;
  const exporters = (env["OTEL_TRACES_EXPORTER"] ?? "otlp").split(",").map((name) => name.trim());
  if (!exporters.includes("otlp")) return false;
  return Boolean(env["OTEL_EXPORTER_OTLP_ENDPOINT"] || env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
}

export async function openTracing({ env, service, log }: TracingInit): Promise<Tracing> {
  if (!wantsTraces(env)) return OFF;
  const protocol = env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] ?? env["OTEL_EXPORTER_OTLP_PROTOCOL"] ?? "http/json";
  if (protocol !== "http/json") {
    log.warn(`traces are sent as http/json, and not as ${protocol}: set OTEL_EXPORTER_OTLP_PROTOCOL=http/json`);
  }
  const [api, sdk, exporters, resources] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace-base"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  api.diag.setLogger(
    {
      error: (message) => log.warn("traces cannot be sent", { reason: message }),
      warn: (message) => log.debug(`tracing: ${message}`),
      info: () => {},
      debug: () => {},
      verbose: () => {},
    },
    { logLevel: api.DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const own = resources.resourceFromAttributes({
    "service.name": service,
    "service.version": VERSION,
    "service.instance.id": randomUUID(),
  });
  // What the environment says counts more: OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
  const detected = resources.detectResources({ detectors: [resources.envDetector] });
  const provider = new sdk.BasicTracerProvider({
    resource: own.merge(detected),
    spanProcessors: [new sdk.BatchSpanProcessor(new exporters.OTLPTraceExporter())],
  });
  const tracer = otelTracer(api, provider.getTracer("capmesh", VERSION));
  return {
    tracer,
    [Symbol.asyncDispose]: async () => {
      await provider.shutdown().catch((error: unknown) => log.warn("the last traces were not sent", { error }));
    },
  };
}

/** What a process takes, with a tracer; what is left of its traces is sent when the stack is disposed. */
export async function withTracing(powers: Powers, service: string, stack: AsyncDisposableStack): Promise<Powers> {
  const { env, log } = powers;
  const { tracer } = stack.use(await openTracing({ env, service, log: log.child({ part: "tracing" }) }));
  return { ...powers, tracer };
}

type OtelApi = typeof Api;

function otelTracer(api: OtelApi, tracer: Api.Tracer): Tracer {
  const kinds: Readonly<Record<SpanKind, Api.SpanKind>> = {
    internal: api.SpanKind.INTERNAL,
    server: api.SpanKind.SERVER,
    client: api.SpanKind.CLIENT,
  };
  return {
    start: (name, { kind = "internal", parent, link, attributes }: SpanOptions = {}) => {
      const above = contextOf(parent);
      const linked = contextOf(link);
      const context = above === undefined ? api.ROOT_CONTEXT : api.trace.setSpanContext(api.ROOT_CONTEXT, above);
      const links = linked === undefined ? [] : [{ context: linked }];
      return otelSpan(
        api,
        tracer.startSpan(name, { kind: kinds[kind], links, attributes: { ...attributes } }, context),
      );
    },
  };
}

function otelSpan(api: OtelApi, span: Api.Span): Span {
  const { traceId, spanId, traceFlags } = span.spanContext();
  let hasEnded = false;
  return {
    traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`,
    set: (attributes) => void span.setAttributes({ ...attributes }),
    fail: (message) => void span.setStatus({ code: api.SpanStatusCode.ERROR, message }),
    end: () => {
      if (!hasEnded) span.end();
      hasEnded = true;
    },
  };
}

function contextOf(traceparent: string | undefined): Api.SpanContext | undefined {
  const [, traceId, spanId, flags] = parseTraceparent(traceparent)?.split("-") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
