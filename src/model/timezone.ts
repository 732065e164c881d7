/** Time zones by their IANA names. */

const OFFSET = /^[+-]/;

/** The zone's name as it is written, whatever case it came in; undefined where there is none of that name. */
export function parseTimezone(name: string): string | undefined {
  // An offset is no zone of the IANA database, though the platform would take it: it has no rules.
  if (name === "" || OFFSET.test(name) || name.length > NAME_LENGTH_MAX) return undefined;
  try {
    const known = new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
    // Old names stand for new ones: the one that was given stays.
    return known.toLowerCase() === name.toLowerCase() ? known : name;
  } catch {
    return undefined;
  }
}

/** Every zone that has a name of its own. */
export function timezoneNames(): readonly string[] {
  return ["UTC", ...Intl.supportedValuesOf("timeZone")];
}

const NAME_LENGTH_MAX = 64;
