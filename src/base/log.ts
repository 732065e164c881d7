/** Where a part says what it does. `app/` makes the real one; tests and libraries may pass `silentLog`. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with `fields` on every line. */
  child(fields: LogFields): Log;
}

/** An `error` key holds what was thrown, as it is; the real log prints its stack and causes. */
export type LogFields = Readonly<Record<string, unknown>>;

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};
