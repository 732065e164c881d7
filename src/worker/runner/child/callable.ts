/** Values of unknown type that may be functions. */

export type Callable = (this: unknown, ...args: readonly unknown[]) => unknown;

/** The function, if the value is one: what it takes and gives, nobody knows. */
export function parseCallable(value: unknown): Callable | undefined {
  return typeof value === "function" ? (value as Callable) : undefined;
}
