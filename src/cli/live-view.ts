/**
 * Lines at the bottom of a terminal that are redrawn in place. What else is written goes above them: `above` takes the
 * view away, lets the caller write, and draws it again. Off a terminal it draws nothing.
 */
import { cutToWidth } from "./table.ts";

export interface LiveViewInit {
  readonly write: (text: string) => void;
  readonly isTerminal: boolean;
  /** Columns, asked anew for each drawing: terminals change. */
  readonly width: () => number;
}

const CLEAR_BELOW = "\u001b[0J";

export class LiveView {
  readonly #init: LiveViewInit;
  #lines: readonly string[] = [];
  #drawn = 0;
  /** The text above ended in the middle of a line; the view begins on the next. */
  #isMidLine = false;
  #isPaused = false;

  constructor(init: LiveViewInit) {
    this.#init = init;
  }

  update(lines: readonly string[]): void {
    this.#lines = lines;
    this.#draw();
  }

  /** Writes `text` above the view. */
  async above(text: string, write: () => Promise<void> | void): Promise<void> {
    this.#erase();
    await write();
    this.#isMidLine = text !== "" && !text.endsWith("\n");
    if (!this.#isMidLine) this.#draw();
  }

  /** Takes the view away while somebody else has the terminal: a question. */
  pause(): void {
    this.#erase();
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#draw();
  }

  /** Takes the view away for good. */
  clear(): void {
    this.#erase();
    this.#lines = [];
  }

  #draw(): void {
    // A line that a guest has not ended yet would be torn apart.
    if (!this.#init.isTerminal || this.#isMidLine || this.#isPaused) return;
    const width = Math.max(1, this.#init.width() - 1);
    const text = this.#lines.map((line) => `${cutToWidth(line, width)}\n`).join("");
    this.#init.write(`${this.#eraseCode()}${text}`);
    this.#drawn = this.#lines.length;
  }

  #erase(): void {
    if (!this.#init.isTerminal || this.#drawn === 0) return;
    this.#init.write(this.#eraseCode());
    this.#drawn = 0;
  }

  #eraseCode(): string {
    return this.#drawn === 0 ? "" : `\u001b[${this.#drawn}F${CLEAR_BELOW}`;
  }
}

/** `[#####-----]  50 %`. `progress` is 0 to 1. */
export function progressBar(progress: number, width: number): string {
  const done = Math.round(Math.min(1, Math.max(0, progress)) * width);
  const percent = String(Math.floor(Math.min(1, Math.max(0, progress)) * 100)).padStart(3);
  return `${"█".repeat(done)}${"░".repeat(width - done)} ${percent} %`;
}
