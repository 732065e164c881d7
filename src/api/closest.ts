/** Which of a few names was probably meant. */

/** More letters than any name here has: keeps a hostile name from costing time. */
const NAME_LENGTH_MAX = 40;

/** The nearest of `names`, if it is near enough to be a slip: case, or at most two letters. */
export function closestName(name: string, names: readonly string[]): string | undefined {
  if (name.length > NAME_LENGTH_MAX) return undefined;
  const wanted = name.toLowerCase();
  let closest: string | undefined;
  let least = Math.min(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of names) {
    // Each letter that one has more is a difference.
    if (Math.abs(candidate.length - name.length) >= least) continue;
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < least) {
      least = distance;
      closest = candidate;
    }
  }
  return closest;
}

/** The time zone that was probably meant: named without its region (`berlin`), or with a slip in one of the two. */
export function closestTimezone(name: string, zones: readonly string[]): string | undefined {
  const spaced = name.trim().replaceAll(" ", "_");
  const city = cityOf(spaced).toLowerCase();
  const inSomeRegion = zones.find((zone) => cityOf(zone).toLowerCase() === city);
  if (inSomeRegion !== undefined) return inSomeRegion;
  const closest = closestName(spaced, zones);
  if (closest !== undefined) return closest;
  const closestCity = closestName(city, zones.map(cityOf));
  return zones.find((zone) => cityOf(zone) === closestCity);
}

function cityOf(zone: string): string {
  return zone.slice(zone.lastIndexOf("/") + 1);
}

/** Letters to add, drop or change (Levenshtein). */
function editDistance(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const line = [row];
    for (let column = 1; column <= to.length; column++) {
      const change = (above[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1);
      line.push(Math.min(change, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1));
    }
    above = line;
  }
  return above[to.length] ?? 0;
}
