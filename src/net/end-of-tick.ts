/**
 * Runs `callback` once the present turn of the event loop has run dry: after all promise callbacks that are queued,
 * and those they queue. Writes gathered until then leave as one.
 */
export function atEndOfTick(callback: () => void): void {
  // From a microtask, `nextTick` waits until the microtask queue is empty; from elsewhere it would run before it.
  queueMicrotask(() => process.nextTick(callback));
}
