/**
 * What a command writes: data to stdout, talk to stderr. Plain text is shaped for the terminal it is on; off one nothing
 * is cut, coloured or redrawn.
 */
import { once } from "node:events";
import type { WriteStream } from "node:tty";
import { type Column, type TableInk, type Tone, formatTable } from "./table.ts";

/** A reader that has seen enough (`capmesh task ls | head`) ends the program without complaint. */
function exitWhenReaderIsGone(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    // Where it cannot be said either, the exit code says it.
    if (stream === process.stdout) process.stderr.write(`capmesh: the output cannot be written: ${error.message}\n`);
    process.exit(1);
  });
}

const BLANK_WIDTH = 100;

/** Colours of the terminal's own choosing: green, red, cyan, yellow. */
const TONES: Readonly<Record<Tone, number>> = { good: 32, bad: 31, busy: 36, wary: 33 };

export class Output implements TableInk {
  readonly isJson: boolean;
  readonly #env: Readonly<Record<string, string | undefined>>;

  constructor(init: { readonly isJson: boolean; readonly env: Readonly<Record<string, string | undefined>> }) {
    this.isJson = init.isJson;
    this.#env = init.env;
  }

  /** Called once a process. */
  static prepareStreams(): void {
    exitWhenReaderIsGone(process.stdout);
    exitWhenReaderIsGone(process.stderr);
  }

  get isStderrTerminal(): boolean {
    return process.stderr.isTTY && this.#env["TERM"] !== "dumb";
  }

  isColorful(stream: WriteStream): boolean {
    return stream.isTTY && this.#env["NO_COLOR"] === undefined && this.#env["TERM"] !== "dumb";
  }

  /** Columns of the terminal that stderr is on. */
  get stderrWidth(): number {
    return process.stderr.columns || BLANK_WIDTH;
  }

  /** A line of data. */
  line(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** A value as one line of JSON. */
  json(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** Bytes or text of a guest, as they are. Resolves when more is welcome. */
  async raw(stream: "stdout" | "stderr", content: string | Uint8Array): Promise<void> {
    const target = process[stream];
    if (!target.write(content)) await once(target, "drain");
  }

  /** A line of talk. */
  say(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  /** Rows under headings, cut to the terminal's width where stdout is one. */
  table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], whenEmpty: string): void {
    if (rows.length === 0) {
      this.say(whenEmpty);
      return;
    }
    const width = process.stdout.isTTY ? process.stdout.columns || BLANK_WIDTH : undefined;
    for (const line of formatTable(columns, rows, width, this)) this.line(line);
  }

  heading(text: string): string {
    return this.bold(text);
  }

  toned(text: string, tone: Tone): string {
    return this.isColorful(process.stdout) ? `\u001b[${TONES[tone]}m${text}\u001b[39m` : text;
  }

  bold(text: string): string {
    return this.isColorful(process.stdout) ? `\u001b[1m${text}\u001b[22m` : text;
  }
}
