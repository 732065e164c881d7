/**
 * The join secret of a gateway: kept in its data directory, or given by its settings, and replaced while the gateway runs.
 *
 *     secret ──rotate──▶ another one, on the disk before it counts; the one before it for as long as the grace says
 *
 * Only what is asked from then on is decided by it: sessions that it has let in stay. The grace ends with the process: a
 * gateway that starts knows what is on the disk.
 */
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import { SECRET_FILE, loadSecret, makeSecret } from "./join-proof.ts";
import { writePrivateFile } from "./private-file.ts";

export interface JoinSecretInit {
  /** The data directory. */
  readonly folder: string;
  /** From the settings: it counts instead of the file, and cannot be replaced here. */
  readonly given?: string | undefined;
  readonly clock: Clock;
}

export interface Rotation {
  readonly secret: string;
  /** By the wall clock; undefined: the one before is good no more. */
  readonly previousUntil: number | undefined;
}

export class JoinSecret {
  readonly #init: JoinSecretInit;
  #current: string;
  /** By the monotonic clock. */
  #previous: { readonly secret: string; readonly untilMs: number } | undefined;
  #rotating: Promise<unknown> = Promise.resolve();

  /** Rejects as `loadSecret` does. */
  static async open(init: JoinSecretInit): Promise<JoinSecret> {
    return new JoinSecret(init, init.given ?? (await loadSecret(init.folder)));
  }

  private constructor(init: JoinSecretInit, current: string) {
    this.#init = init;
    this.#current = current;
  }

  get current(): string {
    return this.#current;
  }

  /** All that are good now, the current one first. */
  accepted(): readonly string[] {
    const previous = this.#previous;
    const isGood = previous !== undefined && this.#init.clock.monotonicMs() < previous.untilMs;
    return isGood ? [this.#current, previous.secret] : [this.#current];
  }

  /**
   * Makes another secret; durable when it resolves, and the old one is refused once `graceMs` are over. One rotation waits
   * for the one before. Rejects with `failed`, code `secret-configured`, or as the disk does: then nothing has changed.
   */
  rotate({ graceMs }: { readonly graceMs: number }): Promise<Rotation> {
    const rotation = this.#rotating.then(() => this.#rotate(graceMs));
    this.#rotating = rotation.catch(() => undefined);
    return rotation;
  }

  async #rotate(graceMs: number): Promise<Rotation> {
    const { folder, given, clock } = this.#init;
    if (given !== undefined) {
      throw failed(
        "the gateway was given its join secret (--secret, CAPMESH_SECRET or a configuration file): change it there, and start the gateway again",
        { code: "secret-configured" },
      );
    }
    const secret = makeSecret();
    await writePrivateFile(join(folder, SECRET_FILE), `${secret}\n`);
    const old = this.#current;
    this.#current = secret;
    this.#previous = graceMs > 0 ? { secret: old, untilMs: clock.monotonicMs() + graceMs } : undefined;
    return { secret, previousUntil: graceMs > 0 ? clock.now() + graceMs : undefined };
  }
}
