@0xe1b6f0a35c7d9281;
# What the vat and the C++ implementation speak with each other in tests: both serve this interface, and both call it.
# `generate.mjs` beside this file compiles it for TypeScript; the C++ programs compile it for themselves.

enum Colour {
  red @0;
  green @1;
  blue @2;
}

struct Everything {
  void @0 :Void;
  bool @1 :Bool;
  int8 @2 :Int8;
  int16 @3 :Int16;
  int32 @4 :Int32;
  int64 @5 :Int64;
  uint8 @6 :UInt8;
  uint16 @7 :UInt16;
  uint32 @8 :UInt32;
  uint64 @9 :UInt64;
  float32 @10 :Float32;
  float64 @11 :Float64;
  text @12 :Text;
  data @13 :Data;
  colour @14 :Colour;
  inner @15 :Everything;
  bools @16 :List(Bool);
  int8s @17 :List(Int8);
  int16s @18 :List(Int16);
  int32s @19 :List(Int32);
  int64s @20 :List(Int64);
  uint8s @21 :List(UInt8);
  uint16s @22 :List(UInt16);
  uint32s @23 :List(UInt32);
  uint64s @24 :List(UInt64);
  float32s @25 :List(Float32);
  float64s @26 :List(Float64);
  texts @27 :List(Text);
  datas @28 :List(Data);
  colours @29 :List(Colour);
  structs @30 :List(Everything);
  lists @31 :List(List(UInt32));
  choice :union {
    nothing @32 :Void;
    number @33 :Int64;
    words @34 :Text;
    more @35 :Everything;
  }
}

const everything :Everything = (
  bool = true,
  int8 = -128, int16 = -32768, int32 = -2147483648, int64 = -9223372036854775808,
  uint8 = 255, uint16 = 65535, uint32 = 4294967295, uint64 = 18446744073709551615,
  float32 = 1.5, float64 = -1e300,
  text = "text: ü 💡", data = 0x"00 01 fe ff", colour = blue,
  inner = (text = "inner", inner = (colour = green, choice = (number = -5))),
  bools = [true, false, true, true, false, false, true, false, true],
  int8s = [-128, 0, 127], int16s = [-32768, 0, 32767], int32s = [-2147483648, 0, 2147483647],
  int64s = [-9223372036854775808, 0, 9223372036854775807],
  uint8s = [0, 255], uint16s = [0, 65535], uint32s = [0, 4294967295], uint64s = [0, 18446744073709551615],
  float32s = [0.5, -0.25], float64s = [1e-300, 0, -2.5],
  texts = ["one", "", "three"], datas = [0x"01", "", 0x"02 03"], colours = [green, red, blue],
  structs = [(int8 = 1, text = "first"), (), (choice = (words = "third"))],
  lists = [[1, 2, 3], [], [4]],
  choice = (more = (uint16 = 7, choice = (words = "words")))
);
# Every field, at an end of its range where it has one.

interface Interop {
  echo @0 (all :Everything) -> (all :Everything);

  constant @1 () -> (all :Everything);
  # `everything`.

  chunk @2 (bytes :Data) -> (bytes :Data);
  # The same bytes.

  callBack @3 (callback :Callback, times :UInt32) -> (sum :UInt32);
  # Calls back with 1, 2 … one after another, and adds up the answers.

  gather @4 (boxes :List(Box)) -> (sum :UInt32, boxes :List(Box));
  # Calls the callback in every box with its number and adds up the answers. Gives back as many boxes, with callbacks that
  # answer with their argument plus the number of the box.

  self @5 () -> (interop :Interop);

  counter @6 (start :UInt32) -> Made;
  # When it is dropped: event "counter <value> dropped".

  named @7 (name :Text) -> (counter :NamedCounter);

  promise @8 () -> (callback :Callback);
  # Returns at once: a promise, which `fulfil` resolves.

  fulfil @9 (callback :Callback) -> ();
  # Null breaks the promise, type failed, reason "broken".

  own @10 () -> (callback :Callback);
  # The same one each time; each call is an event "own <value>", and answered with the value.

  wait @11 (id :UInt32) -> Waited;
  # Returns when `open` is called. Event "wait <id>", and when it is cancelled "cancelled <id>".

  open @12 () -> ();

  hold @13 (callback :Callback) -> ();
  # Keeps it in the place of what was kept before. Null: keeps nothing.

  held @14 () -> (callback :Callback);

  fail @15 (type :UInt16, reason :Text) -> Nothing;
  # Throws an exception with this number of `Exception.Type`.

  forward @16 (to :Interop, start :UInt32) -> Made;
  # A tail call of `to.counter(start)`.

  forwardWait @17 (to :Interop, id :UInt32) -> Waited;
  # A tail call of `to.wait(id)`.

  forwardFail @18 (to :Interop, type :UInt16, reason :Text) -> Nothing;
  # A tail call of `to.fail(type, reason)`.

  events @19 () -> (events :List(Text));
  # What happened so far, in order, on all objects of this connection.
}

# Results that methods share: the C++ implementation makes tail calls only between methods whose results are of one type.

struct Made {
  counter @0 :Counter;
}

struct Waited {
  id @0 :UInt32;
}

struct Nothing {}

struct Box {
  label @0 :Text;
  inner @1 :Inner;
}

struct Inner {
  number @0 :UInt32;
  callback @1 :Callback;
}

interface Callback {
  call @0 (value :UInt32) -> (value :UInt32);
}

interface Source {
  take @0 () -> (callback :Callback);
}

interface Counter {
  add @0 (by :UInt32) -> (value :UInt32);
  # The sum of all so far.
}

interface NamedCounter extends(Counter) {
  name @0 () -> (name :Text);
}
