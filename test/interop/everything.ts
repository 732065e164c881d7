/** `Everything` of interop.capnp as plain values: to fill a message with, and to hold one against. */
import { type List, Message } from "capnp-es";
import { type Colour, Everything, Everything_Choice_Which as Which } from "./interop.ts";

export interface Plain {
  readonly bool: boolean;
  readonly int8: number;
  readonly int16: number;
  readonly int32: number;
  readonly int64: bigint;
  readonly uint8: number;
  readonly uint16: number;
  readonly uint32: number;
  readonly uint64: bigint;
  readonly float32: number;
  readonly float64: number;
  readonly text: string;
  readonly data: readonly number[];
  readonly colour: Colour;
  readonly inner: Plain | undefined;
  readonly bools: readonly boolean[];
  readonly int8s: readonly number[];
  readonly int16s: readonly number[];
  readonly int32s: readonly number[];
  readonly int64s: readonly bigint[];
  readonly uint8s: readonly number[];
  readonly uint16s: readonly number[];
  readonly uint32s: readonly number[];
  readonly uint64s: readonly bigint[];
  readonly float32s: readonly number[];
  readonly float64s: readonly number[];
  readonly texts: readonly string[];
  readonly datas: readonly (readonly number[])[];
  readonly colours: readonly Colour[];
  readonly structs: readonly Plain[];
  readonly lists: readonly (readonly number[])[];
  readonly choice: PlainChoice;
}

type PlainChoice =
  | { readonly kind: "nothing" }
  | { readonly kind: "number"; readonly value: bigint }
  | { readonly kind: "words"; readonly value: string }
  | { readonly kind: "more"; readonly value: Plain };

/** A message of which nothing was set. */
export const NOTHING: Plain = {
  bool: false,
  int8: 0,
  int16: 0,
  int32: 0,
  int64: 0n,
  uint8: 0,
  uint16: 0,
  uint32: 0,
  uint64: 0n,
  float32: 0,
  float64: 0,
  text: "",
  data: [],
  colour: 0,
  inner: undefined,
  bools: [],
  int8s: [],
  int16s: [],
  int32s: [],
  int64s: [],
  uint8s: [],
  uint16s: [],
  uint32s: [],
  uint64s: [],
  float32s: [],
  float64s: [],
  texts: [],
  datas: [],
  colours: [],
  structs: [],
  lists: [],
  choice: { kind: "nothing" },
};

/** `everything` of interop.capnp. */
export const EVERYTHING: Plain = {
  bool: true,
  int8: -128,
  int16: -32768,
  int32: -2147483648,
  int64: -9223372036854775808n,
  uint8: 255,
  uint16: 65535,
  uint32: 4294967295,
  uint64: 18446744073709551615n,
  float32: 1.5,
  float64: -1e300,
  text: "text: ü 💡",
  data: [0x00, 0x01, 0xfe, 0xff],
  colour: 2,
  inner: { ...NOTHING, text: "inner", inner: { ...NOTHING, colour: 1, choice: { kind: "number", value: -5n } } },
  bools: [true, false, true, true, false, false, true, false, true],
  int8s: [-128, 0, 127],
  int16s: [-32768, 0, 32767],
  int32s: [-2147483648, 0, 2147483647],
  int64s: [-9223372036854775808n, 0n, 9223372036854775807n],
  uint8s: [0, 255],
  uint16s: [0, 65535],
  uint32s: [0, 4294967295],
  uint64s: [0n, 18446744073709551615n],
  float32s: [0.5, -0.25],
  float64s: [1e-300, 0, -2.5],
  texts: ["one", "", "three"],
  datas: [[1], [], [2, 3]],
  colours: [1, 0, 2],
  structs: [{ ...NOTHING, int8: 1, text: "first" }, NOTHING, { ...NOTHING, choice: { kind: "words", value: "third" } }],
  lists: [[1, 2, 3], [], [4]],
  choice: { kind: "more", value: { ...NOTHING, uint16: 7, choice: { kind: "words", value: "words" } } },
};

/** Does not touch null fields: reading one would make it. */
export function readPlain(all: Everything): Plain {
  return {
    bool: all.bool,
    int8: all.int8,
    int16: all.int16,
    int32: all.int32,
    int64: all.int64,
    uint8: all.uint8,
    uint16: all.uint16,
    uint32: all.uint32,
    uint64: all.uint64,
    float32: all.float32,
    float64: all.float64,
    text: all.text,
    data: all._hasData() ? [...all.data.toUint8Array()] : [],
    colour: all.colour,
    inner: all._hasInner() ? readPlain(all.inner) : undefined,
    bools: all._hasBools() ? all.bools.map((each) => each) : [],
    int8s: all._hasInt8s() ? all.int8s.map((each) => each) : [],
    int16s: all._hasInt16s() ? all.int16s.map((each) => each) : [],
    int32s: all._hasInt32s() ? all.int32s.map((each) => each) : [],
    int64s: all._hasInt64s() ? all.int64s.map((each) => each) : [],
    uint8s: all._hasUint8s() ? all.uint8s.map((each) => each) : [],
    uint16s: all._hasUint16s() ? all.uint16s.map((each) => each) : [],
    uint32s: all._hasUint32s() ? all.uint32s.map((each) => each) : [],
    uint64s: all._hasUint64s() ? all.uint64s.map((each) => each) : [],
    float32s: all._hasFloat32s() ? all.float32s.map((each) => each) : [],
    float64s: all._hasFloat64s() ? all.float64s.map((each) => each) : [],
    texts: all._hasTexts() ? all.texts.map((each) => each) : [],
    datas: all._hasDatas() ? all.datas.map((each) => [...each.toUint8Array()]) : [],
    colours: all._hasColours() ? all.colours.map((each) => each) : [],
    structs: all._hasStructs() ? all.structs.map((each) => readPlain(each)) : [],
    lists: all._hasLists() ? all.lists.map((each) => each.map((one) => one)) : [],
    choice: readChoice(all),
  };
}

function readChoice({ choice }: Everything): PlainChoice {
  switch (choice.which()) {
    case Which.NOTHING:
      return { kind: "nothing" };
    case Which.NUMBER:
      return { kind: "number", value: choice.number };
    case Which.WORDS:
      return { kind: "words", value: choice.words };
    case Which.MORE:
      return { kind: "more", value: readPlain(choice.more) };
  }
}

/** Leaves empty text, data and lists null. */
export function writePlain(all: Everything, plain: Plain): void {
  all.bool = plain.bool;
  all.int8 = plain.int8;
  all.int16 = plain.int16;
  all.int32 = plain.int32;
  all.int64 = plain.int64;
  all.uint8 = plain.uint8;
  all.uint16 = plain.uint16;
  all.uint32 = plain.uint32;
  all.uint64 = plain.uint64;
  all.float32 = plain.float32;
  all.float64 = plain.float64;
  if (plain.text !== "") all.text = plain.text;
  if (plain.data.length > 0) all._initData(plain.data.length).copyBuffer(Uint8Array.from(plain.data));
  all.colour = plain.colour;
  if (plain.inner) writePlain(all._initInner(), plain.inner);
  writeList(plain.bools, (length) => all._initBools(length));
  writeList(plain.int8s, (length) => all._initInt8s(length));
  writeList(plain.int16s, (length) => all._initInt16s(length));
  writeList(plain.int32s, (length) => all._initInt32s(length));
  writeList(plain.int64s, (length) => all._initInt64s(length));
  writeList(plain.uint8s, (length) => all._initUint8s(length));
  writeList(plain.uint16s, (length) => all._initUint16s(length));
  writeList(plain.uint32s, (length) => all._initUint32s(length));
  writeList(plain.uint64s, (length) => all._initUint64s(length));
  writeList(plain.float32s, (length) => all._initFloat32s(length));
  writeList(plain.float64s, (length) => all._initFloat64s(length));
  writeList(plain.texts, (length) => all._initTexts(length));
  writeList(plain.colours, (length) => all._initColours(length));
  writeNested(all, plain);
  writeChoice(all, plain.choice);
}

function writeNested(all: Everything, { datas, structs, lists }: Plain): void {
  if (datas.length > 0) {
    const made = all._initDatas(datas.length);
    datas.forEach((each, index) => {
      const data = scratch()._initData(each.length);
      data.copyBuffer(Uint8Array.from(each));
      made.set(index, data);
    });
  }
  if (structs.length > 0) {
    const made = all._initStructs(structs.length);
    structs.forEach((each, index) => writePlain(made.get(index), each));
  }
  if (lists.length > 0) {
    const made = all._initLists(lists.length);
    lists.forEach((each, index) => {
      const inner = scratch()._initUint32s(each.length);
      each.forEach((value, at) => inner.set(at, value));
      made.set(index, inner);
    });
  }
}

/** Lists of lists are filled with copies of lists that are made elsewhere. */
function scratch(): Everything {
  return new Message().initRoot(Everything);
}

function writeChoice({ choice }: Everything, plain: PlainChoice): void {
  switch (plain.kind) {
    case "nothing":
      choice.nothing = true;
      return;
    case "number":
      choice.number = plain.value;
      return;
    case "words":
      choice.words = plain.value;
      return;
    case "more":
      writePlain(choice._initMore(), plain.value);
  }
}

function writeList<T>(values: readonly T[], init: (length: number) => List<T>): void {
  if (values.length === 0) return;
  const list = init(values.length);
  values.forEach((value, index) => list.set(index, value));
}
