/** Says in a sentence why a guest came to grief. Pure. */

const AT = "at ";
const URL_BEGIN = "wasm://";
const PLACE = /wasm-function\[\d+\]/;

/** What was thrown out of a guest: the trap's message, and the function it came from where the engine tells. */
export function trapReason(thrown: unknown): string {
  if (!(thrown instanceof Error)) return "the guest threw an exception that it did not catch";
  const message = messageOf(thrown);
  for (const line of (thrown.stack ?? "").split("\n")) {
    const frame = frameOf(line.trimStart());
    if (frame !== undefined) return `${message}, in ${frame}`;
  }
  return message;
}

/**
 * The guest's function in a line of a stack: `at name (wasm://…:wasm-function[n]:0x…)`, or without a name and brackets.
 * The name is the guest's own, 100,000 characters of whatever it likes: each is looked at a fixed number of times.
 */
function frameOf(line: string): string | undefined {
  const begin = line.lastIndexOf(URL_BEGIN);
  if (!line.startsWith(AT) || begin < 0) return undefined;
  const place = PLACE.exec(line.slice(begin))?.[0];
  if (place === undefined) return undefined;
  const name = line.slice(AT.length, begin);
  return name.endsWith(" (") ? `${name.slice(0, -2)} (${place})` : place;
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
