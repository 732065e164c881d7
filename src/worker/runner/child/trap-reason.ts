/** Says in a sentence why a guest came to grief. Pure. */

const FRAME = /^\s+at (?:(?<name>.+) \()?wasm:\/\/.*?(?<place>wasm-function\[\d+\])/;

/** What was thrown out of a guest: the trap's message, and the function it came from where the engine tells. */
export function trapReason(thrown: unknown): string {
  if (!(thrown instanceof Error)) return "the guest threw an exception that it did not catch";
  const message = messageOf(thrown);
  for (const line of (thrown.stack ?? "").split("\n")) {
    const groups = FRAME.exec(line)?.groups;
    if (groups === undefined) continue;
    const place = groups["place"] ?? "";
    return `${message}, in ${groups["name"] === undefined ? place : `${groups["name"]} (${place})`}`;
  }
  return message;
}

function messageOf(thrown: Error): string {
  if (thrown instanceof RangeError && thrown.message.startsWith("Maximum call stack")) return "call stack exhausted";
  if (thrown instanceof TypeError) return `a host call with arguments of the wrong type: ${thrown.message}`;
  return thrown.message.replace(/^wasm trap: /, "");
}

/** An engine's refusal of a module, without the name of the engine's own function. */
export function compileReason(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return message.replace(/^WebAssembly\.\w+\(\):\s*/, "");
}
