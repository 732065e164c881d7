/**
 * The real log: pino, on stderr. For people it is one line an event, coloured on a terminal; for programs one JSON
 * object a line. Lines are written before the call returns, so that the last one before an abrupt end is there.
 */
import { type DestinationStream, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";
import { build as prettyStream } from "pino-pretty";
import type { Log } from "../base/log.ts";
import type { LogFormat, LogLevel } from "./config-sources.ts";

export interface LogInit {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly isColorful: boolean;
  /** Where lines go. Default: stderr. */
  readonly destination?: DestinationStream | undefined;
}

const STDERR = 2;

export function createLog(init: LogInit): Log {
  const plain = init.destination ?? stderrDestination();
  const destination = init.format === "json" ? plain : prettyDestination(init, plain);
  const logger = pino(
    {
      level: init.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.errWithCause },
    },
    destination,
  );
  return asLog(logger);
}

function stderrDestination(): DestinationStream {
  const destination = pino.destination({ dest: STDERR, sync: true });
  // Whoever read our stderr is gone. That is no reason to stop working.
  destination.on("error", () => {});
  return destination;
}

function prettyDestination(init: LogInit, destination: DestinationStream): DestinationStream {
  return prettyStream({
    colorize: init.isColorful,
    destination,
    errorLikeObjectKeys: ["error"],
    singleLine: true,
    sync: true,
    translateTime: "SYS:HH:MM:ss.l",
  });
}

function asLog(logger: Logger): Log {
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
    child: (fields) => asLog(logger.child(fields)),
  };
}
