import { expect, test } from "vitest";
import { openTracing, wantsTraces } from "../../src/app/tracing.ts";
import { silentLog } from "../../src/base/log.ts";
import { NO_TRACER, parseTraceparent, within } from "../../src/base/tracing.ts";

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" };
const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test.each([
  [{}, false],
  [{ OTEL_SERVICE_NAME: "x" }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "" }, false],
  [ENDPOINT, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:4318/v1/traces" }, true],
  [{ ...ENDPOINT, OTEL_SDK_DISABLED: "True" }, false],
  [{ ...ENDPOINT, OTEL_SDK_DISABLED: "false" }, true],
  [{ ...ENDPOINT, OTEL_TRACES_EXPORTER: "none" }, false],
  [{ ...ENDPOINT, OTEL_TRACES_EXPORTER: "console, otlp" }, true],
])("with %j traces are wanted: %s", (env, isWanted) => {
  expect(wantsTraces(env)).toBe(isWanted);
});

test("without being asked for, tracing passes on what it is given and nothing else", async () => {
  await using tracing = await openTracing({ env: {}, service: "capmesh", log: silentLog });
  expect(tracing.tracer).toBe(NO_TRACER);
  expect(tracing.tracer.start("x", { parent: PARENT }).traceparent).toBe(PARENT);
  expect(tracing.tracer.start("x").traceparent).toBeUndefined();
});

test.each([
  [PARENT, true],
  [PARENT.replace("00-4b", "01-4b"), true],
  [PARENT.replace("00-4b", "ff-4b"), false],
  [PARENT.toUpperCase(), false],
  [PARENT.slice(0, -1), false],
  [`00-${"0".repeat(32)}-00f067aa0ba902b7-01`, false],
  [`00-4bf92f3577b34da6a3ce929d0e0e4736-${"0".repeat(16)}-01`, false],
  ["", false],
])("%j is a trace context: %s", (text, isOne) => {
  expect(parseTraceparent(text)).toBe(isOne ? text : undefined);
});

test("work that fails says so on its span, which ends either way", async () => {
  const told: string[] = [];
  const span = {
    traceparent: undefined,
    set: () => {},
    fail: (reason: string) => void told.push(reason),
    end: () => void told.push("end"),
  };
  expect(await within(span, async () => 1)).toBe(1);
  await expect(within(span, () => Promise.reject(new Error("no disk")))).rejects.toThrow("no disk");
  expect(told).toEqual(["end", "no disk", "end"]);
});
