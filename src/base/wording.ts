/** How amounts, and texts that a stranger had a say in, are put into sentences. */

const MIB = 1_048_576;

/** In MiB, to a tenth. */
export function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1).replace(/\.0$/, "");
}

/** The beginning of a text, so long at most, and no character of it cut in two. */
export function cutTo(lengthMax: number, text: string): string {
  return text.length > lengthMax ? text.slice(0, lengthMax).toWellFormed() : text;
}

/** The same, and it shows that there was more. */
export function shortened(lengthMax: number, text: string): string {
  return text.length > lengthMax ? `${cutTo(lengthMax, text)}…` : text;
}
