/**
 * How often each promise could have been seen broken, in one history or many: what is promised of times in which nothing is
 * wrong, or of what seldom happens, is not checked at all where such times never come.
 */

/**
 * What the checks look at, each with how often at least that has to be so in a hundred seeds, one as another; they are far
 * from what is usual.
 */
export const LOOKS_MIN = {
  "G1: what was accepted is there at the end": 150,
  "G1: an acceptance is durable": 150,
  "G1: a submission is answered as it was before": 10,
  "G1: a batch is made whole": 10,
  "G1: what is said to be cancelled is": 20,
  "G1: what is said to run again does": 8,
  "G1: nothing is gone that nobody deleted": 20,
  "G1: what is forgotten has its age": 20,
  "G1: a run that is forgotten has its age": 5,
  "G1: a number is not given again": 5,
  "G1: a clock that is wrong makes nothing old": 1,
  "G2: a success had a guest": 400,
  "G2: nothing is lost where nothing is wrong": 200,
  "G2: a run has all of its tries": 20,
  "G2: a run is given up after so many losses": 5,
  "G2: what is due is ready soon": 200,
  "G2: what is ready runs soon where there is room": 200,
  "G2: what has failed is tried again soon": 3,
  "G2: what was lost is tried again soon": 8,
  "G2: what has ended is settled soon": 200,
  "G2: the loss of a worker is noticed soon": 3,
  "G3: a result is the one that the guest gave": 500,
  "G3: who is run again was to be": 8,
  "G4: guests of one run overlap": 0.5,
  "G4: a guest ends after its attempt": 8,
  "G5: a run is ready at its time and not before": 500,
  "G5: a slot follows the one before": 10,
  "G5: the first slot is the first": 2,
  "G5: a schedule does not stand still": 10,
  "G5: a task goes on whose runs were forgotten": 3,
  "G5: a run waits for other tasks": 20,
  "G4: a run waits for the one before": 40,
  "G6: a guest ends when it is cancelled": 10,
  "G8: a log is whole": 300,
  "G8: a log says where it was cut": 10,
  "G8: files are kept": 60,
  "G8: files are found": 60,
  "G8: a file that is refused is not there": 2,
  "G9: what takes its runner down is held against it": 5,
  "G9: what nothing could be done about is not held against it": 1,
  "G10: somebody is drained when runs begin": 3,
  "G10: a process that is told to stop does": 100,
  "G10: a process needs its grace": 1,
  "told: what is told is durable": 1_000,
  "queue: there are no more unfinished tasks than may be": 8,
} as const;

/** Where fewer are expected at least, none says little. */
const TELLING_MIN = 5;

export type Look = keyof typeof LOOKS_MIN;

export class Tally {
  readonly #looks = new Map<Look, number>();

  /** The condition held under which `what` says something. */
  saw(what: Look): void {
    this.#looks.set(what, (this.#looks.get(what) ?? 0) + 1);
  }

  get looks(): ReadonlyMap<Look, number> {
    return this.#looks;
  }

  add({ looks }: Pick<Tally, "looks">): void {
    for (const [what, count] of looks) this.#looks.set(what, (this.#looks.get(what) ?? 0) + count);
  }

  /** What so many seeds have looked at less often than they should; where they are too few to tell, nothing is said. */
  tooSeldom(seeds: number): readonly string[] {
    return Object.entries(LOOKS_MIN).flatMap(([what, perHundred]) => {
      if (perHundred * seeds < 100 * TELLING_MIN) return [];
      const count = new Map<string, number>(this.#looks).get(what) ?? 0;
      return count * 100 >= perHundred * seeds ? [] : [`${what}: ${count} times in ${seeds} seeds`];
    });
  }

  /** One line for each, the rarest first. */
  lines(): readonly string[] {
    const all = new Map<string, number>(Object.keys(LOOKS_MIN).map((what) => [what, 0]));
    for (const [what, count] of this.#looks) all.set(what, count);
    return [...all].toSorted(([, a], [, b]) => a - b).map(([what, count]) => `${String(count).padStart(8)}  ${what}`);
  }
}
