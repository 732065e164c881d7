/** What `capmesh doctor` finds: one line for each thing it looks at. */
export interface Check {
  /** Stable: programs go by it. */
  readonly name: string;
  /** `warn`: it works, with less than there could be. `fail`: it does not. */
  readonly state: "ok" | "warn" | "fail";
  /** What was found, in a few words. */
  readonly found: string;
  /** What to do about it, where there is something to do. */
  readonly advice?: string | undefined;
}
