/** A queue that gives up any of its entries in constant time: a doubly linked list through the entries themselves. */

/** What an entry carries for its list. Only the list writes it; an entry is in one list at most. */
export interface Link<Self> {
  previous: Self | undefined;
  next: Self | undefined;
  isLinked: boolean;
}

export class WaitList<Entry extends Link<Entry>> {
  #first: Entry | undefined;
  #last: Entry | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The entry that has waited longest. */
  get first(): Entry | undefined {
    return this.#first;
  }

  /** Adds to the end. The entry is in no list. */
  push(entry: Entry): void {
    entry.previous = this.#last;
    entry.next = undefined;
    entry.isLinked = true;
    if (this.#last === undefined) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
    this.#length++;
  }

  /** Takes the entry out. False when it is out already: nothing changed. The entry is of this list. */
  remove(entry: Entry): boolean {
    if (!entry.isLinked) return false;
    if (entry.previous === undefined) this.#first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) this.#last = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = undefined;
    entry.next = undefined;
    entry.isLinked = false;
    this.#length--;
    return true;
  }

  /** In the order of waiting. The list must not change meanwhile. */
  *[Symbol.iterator](): Generator<Entry, void, undefined> {
    for (let entry = this.#first; entry !== undefined; entry = entry.next) yield entry;
  }
}
