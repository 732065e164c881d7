/** Reads the text in which metrics are shown to Prometheus, strictly, and says what of it breaks its rules. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const TYPES = ["counter", "gauge", "histogram", "summary"];
const SAMPLE = /^([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gy;

/** Throws at the first line that is none of the format's. */
export function parseExposition(text: string): ReadonlyMap<string, Family> {
  const families = new Map<string, Family & { readonly samples: Sample[] }>();
  let help: { readonly name: string; readonly text: string } | undefined;
  let current: (Family & { readonly samples: Sample[] }) | undefined;
  if (!text.endsWith("\n")) throw new Error("the text does not end with a line feed");
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, helped, words] = /^# HELP (\S+) (.+)$/.exec(line) ?? [];
    const [, typed, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (helped !== undefined) help = { name: helped, text: words ?? "" };
    else if (typed !== undefined) {
      if (help?.name !== typed) throw new Error(`${typed} has a type and no help before it`);
      if (families.has(typed)) throw new Error(`${typed} comes twice`);
      current = { name: typed, type: type ?? "", help: help.text, samples: [] };
      families.set(typed, current);
    } else {
      const sample = parseSample(line);
      if (current === undefined || !belongs(sample.name, current)) throw new Error(`nothing announced: ${line}`);
      current.samples.push(sample);
    }
  }
  return families;
}

function parseSample(line: string): Sample {
  const [, name, labelText = "", valueText = ""] = SAMPLE.exec(line) ?? [];
  if (name === undefined) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  let length = 0;
  for (const [whole, label = "", value = ""] of labelText.matchAll(LABEL)) {
    labels[label] = value;
    length += whole.length;
  }
  if (length !== labelText.length) throw new Error(`labels that cannot be read: ${line}`);
  const value = valueText === "+Inf" ? Infinity : Number(valueText === "Nan" ? "NaN" : valueText);
  if (Number.isNaN(value) && valueText !== "Nan") throw new Error(`no number: ${line}`);
  return { name, labels, value };
}

function belongs(sample: string, { name, type }: Family): boolean {
  return type === "histogram" ? ["_bucket", "_sum", "_count"].some((end) => sample === name + end) : sample === name;
}

/** The sum of what the labels leave; NaN if there is nothing. */
export function valueOf(
  families: ReadonlyMap<string, Family>,
  sample: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const all = [...families.values()].flatMap(({ samples }) => samples).filter(({ name }) => name === sample);
  const found = all.filter((each) => Object.entries(labels).every(([key, value]) => each.labels[key] === value));
  return found.length === 0 ? NaN : found.reduce((sum, { value }) => sum + value, 0);
}

/** Sentences on what breaks the rules for names, types, help, units and buckets. */
export function exposureFaults(families: ReadonlyMap<string, Family>): readonly string[] {
  return [...families.values()].flatMap((family) => faultsOf(family).map((fault) => `${family.name} ${fault}`));
}

function faultsOf({ name, type, help, samples }: Family): readonly string[] {
  const faults: string[] = [];
  if (!/^(?:capmesh|process|nodejs)(?:_[a-z0-9]+)+$/.test(name)) faults.push("is not named as ours, or Node's, are");
  if (!TYPES.includes(type)) faults.push(`has no known type: ${type}`);
  if (!/^[A-Z0-9].*\.$/.test(help)) faults.push("has no sentence for help");
  if ((type === "counter") !== name.endsWith("_total")) faults.push("is a counter, or ends in _total, and not both");
  if (/_(?:ms|us|ns|millis\w*|micro\w*|minutes?|hours?|days?|[kmg]i?b|kilo\w*|mega\w*|percent)(?:_|$)/.test(name)) {
    faults.push("is not in base units");
  }
  if (type === "histogram" && !/_(?:seconds|bytes)$/.test(name)) faults.push("does not say its unit");
  if (/(?:counter|gauge|histogram|bucket|_count|_sum)$/.test(name)) faults.push("has its type in its name");
  for (const { labels, value } of samples) {
    if (type === "counter" && !(value >= 0)) faults.push("is a counter that is not 0 or more");
    if (Object.keys(labels).some((label) => !/^[a-z][a-z_]*$/.test(label))) faults.push("has a label of odd letters");
  }
  if (type === "histogram") faults.push(...bucketFaults(samples));
  return faults;
}

function bucketFaults(samples: readonly Sample[]): readonly string[] {
  const series = new Map<string, { readonly values: number[]; last: string | undefined; count: number | undefined }>();
  for (const { name, labels, value } of samples) {
    const { le, ...rest } = labels;
    const key = JSON.stringify(rest);
    const each = series.get(key) ?? { values: [], last: undefined, count: undefined };
    series.set(key, each);
    if (name.endsWith("_bucket")) {
      each.values.push(value);
      each.last = le;
    }
    if (name.endsWith("_count")) each.count = value;
  }
  return [...series].flatMap(([key, { values, last, count }]) => {
    const isSorted = values.every((value, index) => index === 0 || value >= (values[index - 1] ?? 0));
    return isSorted && last === "+Inf" && values.at(-1) === count ? [] : [`has wrong buckets for ${key}`];
  });
}
