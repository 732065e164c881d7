/** Rows of text under headings. Where a width is given, the columns that may be cut share what is left of it. */

/** What a value means to whoever looks at it: a colour, where there are colours. */
export type Tone = "good" | "bad" | "busy" | "wary";

export interface Column<Row> {
  readonly heading: string;
  readonly value: (row: Row) => string;
  /** May be cut to fit, and is left out, the last one first, where not even that is enough. Others keep their width. */
  readonly isFlexible?: boolean;
  /** Where it is flexible: what it keeps at least. Default: FLEXIBLE_WIDTH_MIN. */
  readonly widthMin?: number;
  /** Where it is flexible: its end is what tells one from another, so its start is cut. */
  readonly keepsEnd?: boolean;
  readonly tone?: (row: Row) => Tone | undefined;
}

/** How a table is drawn. Both leave what is seen of a text as wide as it is. */
export interface TableInk {
  readonly heading: (text: string) => string;
  readonly toned: (text: string, tone: Tone) => string;
}

const NO_INK: TableInk = { heading: (text) => text, toned: (text) => text };

const GAP = "  ";
const FLEXIBLE_WIDTH_MIN = 8;

/** Control characters would move the cursor or change colours: what others wrote is shown without them. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => (/\s/.test(character) ? " " : "\ufffd"));
}

export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  widthMax: number | undefined,
  ink: TableInk = NO_INK,
): readonly string[] {
  const cells = [
    columns.map(({ heading }) => heading),
    ...rows.map((row) => columns.map((column) => printable(column.value(row)))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => displayWidth(line[index] ?? ""))));
  if (widthMax !== undefined && !shrink(widths, columns, widthMax)) {
    const last = columns.findLastIndex(({ isFlexible }) => isFlexible);
    if (last > 0) return formatTable(columns.toSpliced(last, 1), rows, widthMax, ink);
  }
  return cells.map((line, at) => {
    const row = at === 0 ? undefined : rows[at - 1];
    const texts = line.map((cell, index) => {
      const { keepsEnd = false, tone } = columns[index] ?? {};
      const text = fit(cell, widths[index] ?? 0, keepsEnd);
      // Spaces at a line's end are cut, within colours too.
      const shown = index === line.length - 1 ? text.trimEnd() : text;
      if (row === undefined) return ink.heading(shown);
      const own = tone?.(row);
      return own === undefined ? shown : ink.toned(shown, own);
    });
    return texts.join(GAP).trimEnd();
  });
}

/** Takes from the widest flexible column until the whole fits. False: none can give any more. */
function shrink(
  widths: number[],
  columns: readonly Pick<Column<never>, "isFlexible" | "widthMin">[],
  widthMax: number,
): boolean {
  const excess = (): number => widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1)) - widthMax;
  while (excess() > 0) {
    let widest = -1;
    widths.forEach((width, index) => {
      const { isFlexible, widthMin = FLEXIBLE_WIDTH_MIN } = columns[index] ?? {};
      if (isFlexible && width > widthMin && width > (widths[widest] ?? 0)) widest = index;
    });
    if (widest === -1) return false;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return true;
}

function fit(text: string, width: number, keepsEnd: boolean): string {
  const own = displayWidth(text);
  if (own <= width) return text + " ".repeat(width - own);
  return keepsEnd ? `…${text.slice(1 - width)}` : cutToWidth(text, width);
}

/** The text, or as much of it as fits with an ellipsis at its end. */
export function cutToWidth(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let cut = "";
  let used = 0;
  for (const character of text) {
    const own = characterWidth(character);
    if (used + own > width - 1) break;
    cut += character;
    used += own;
  }
  return `${cut}…${" ".repeat(Math.max(0, width - 1 - used))}`;
}

/** Columns a text takes on a terminal. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

const ZERO_WIDTH = /^(?:\p{Mn}|\p{Me}|\p{Cf})$/u;
const DOUBLE_WIDTH =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u;

function characterWidth(character: string): number {
  if (ZERO_WIDTH.test(character)) return 0;
  return DOUBLE_WIDTH.test(character) ? 2 : 1;
}
