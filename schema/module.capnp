@0xb2f1c0a96d3e5a02;
# Modules: WebAssembly bytes, named by the SHA-256 of their content.

interface Module {
  read @0 (offset :UInt64, length :UInt32) -> (bytes :Data);
  # Up to `length` bytes from `offset`, and at most 1 MiB whatever is asked. Fewer only at the end; empty past it.
  # The content never changes: reads may run concurrently and be repeated. The reader checks the digest over the whole.
  # Fails with `overloaded` while the bytes cannot be read, for which nobody is blamed: the gateway gives the attempt up, and
  # has the run tried again, or failed when there is no hope.
}
