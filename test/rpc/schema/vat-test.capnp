@0xd7c1a5b0e94f2a10;
# Interfaces that exist to test the vat with. `generate.mjs` beside this file compiles them.

interface Tester {
  echo @0 (number :UInt32, bytes :Data) -> (number :UInt32, bytes :Data);

  wait @1 (id :UInt32) -> (id :UInt32);
  # Returns when the test says so.

  fail @2 (kind :Text, message :Text) -> ();

  counter @3 (start :UInt32) -> (counter :Counter);

  box @4 (start :UInt32) -> (box :Box);

  callBack @5 (callback :Callback, times :UInt32) -> (sum :UInt32);
  # Calls back with 1, 2 … one after another.

  pass @6 (callback :Callback) -> (callback :Callback);
  # Gives back what it was given.

  hold @7 (callback :Callback) -> ();
  # Keeps it for `held`, in the place of what was kept before. Null: keeps nothing.

  held @8 () -> (callback :Callback);

  self @9 () -> (tester :Tester);

  promised @10 () -> (tester :Tester);
  # As `self`, when the test says so.

  count @11 (texts :List(Text), boxes :List(Box)) -> (count :UInt32);
  # Goes through both lists.
}

struct Box {
  label @0 :Text;
  inner @1 :Inner;
}

struct Inner {
  number @0 :UInt64;
  counter @1 :Counter;
}

interface Counter {
  add @0 (by :UInt32) -> (value :UInt32);
  # Returns the sum of all so far.

  clone @1 () -> (counter :Counter);
}

interface NamedCounter extends(Counter) {
  name @0 () -> (name :Text);
}

interface Callback {
  call @0 (value :UInt32) -> (value :UInt32);
}

interface Place {
  # An object in a random graph. What each call gives back is known beforehand, whatever the order in which things happen.

  make @0 (id :UInt32) -> (place :Place);

  pass @1 (place :Place) -> (place :Place);
  # Gives back what it was given.

  later @2 (gate :UInt32, place :Place) -> (place :Place);
  # As `pass`, with a promise that resolves when the gate is open.

  slow @3 (gate :UInt32, place :Place) -> (place :Place);
  # As `pass`, and returns when the gate is open.

  forward @4 (to :Place, place :Place) -> (place :Place);
  # A tail call of `to.pass(place)`.

  mark @5 (reference :UInt32, number :UInt32) -> (id :UInt32);
}
