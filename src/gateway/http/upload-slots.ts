/**
 * Room for the bodies that come in, shared by all who send them. Nobody may take the last of it: a submitter has at most
 * as many under way as are left free, which is half of all for one who is alone, and less the more there are. Only who
 * came by no token that was made for somebody, on this machine or by the gateway's own, has no share to keep to.
 */
import { UPLOADS_MAX } from "../../base/limits.ts";
import type { Grant } from "../grant.ts";
import { tooManyUploads } from "./form-upload.ts";
import { Refusal } from "./problem.ts";

export class UploadSlots {
  readonly #max: number;
  /** By submitter; one who has none is not in it. */
  readonly #counts = new Map<string, number>();
  #taken = 0;

  constructor(max = UPLOADS_MAX) {
    this.#max = max;
  }

  /** The caller disposes it when the body's submission is answered. Throws a Refusal where there is no room. */
  take({ token, actor: submitter }: Pick<Grant, "token" | "actor">): Disposable {
    const free = this.#max - this.#taken;
    if (free === 0) throw tooManyUploads();
    const count = this.#counts.get(submitter) ?? 0;
    if (token !== undefined && count >= free) throw tooManyOfOne(count);
    this.#counts.set(submitter, count + 1);
    this.#taken++;
    let isTaken = true;
    return {
      [Symbol.dispose]: () => {
        if (isTaken) this.#release(submitter);
        isTaken = false;
      },
    };
  }

  #release(submitter: string): void {
    this.#taken--;
    const left = (this.#counts.get(submitter) ?? 1) - 1;
    if (left === 0) this.#counts.delete(submitter);
    else this.#counts.set(submitter, left);
  }
}

function tooManyOfOne(count: number): Refusal {
  return new Refusal(
    "rate-limited",
    `${count} of your submissions are coming in, which is your share: send this again when one of them has ended.`,
    { headers: { "retry-after": "1" } },
  );
}
