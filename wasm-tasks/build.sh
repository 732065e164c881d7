#!/bin/sh
# Rebuilds the example guests from their sources, byte for byte the same from the same tools:
#
#   apt install clang lld wasi-libc libclang-rt-dev-wasm32
#   npm install
#   wasm-tasks/build.sh [hash | hello | component]...
#
# The built files are committed, so nobody needs this to run a task.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Compiling and linking are two steps: a clang that links runs any `wasm-opt` it finds, and the result would depend on it.
warnings='-Wall -Wextra -Werror'
sysroot=/usr/lib/wasm32-wasi
builtins=$(clang --target=wasm32-wasi -print-libgcc-file-name)

build_hash() {
  clang --target=wasm32 -ffreestanding -O2 -msimd128 -mbulk-memory $warnings -c hash/hash.c -o "$work/hash.o"
  wasm-ld --no-entry --strip-all -z stack-size=16384 "$work/hash.o" -o hash/hash.wasm
}

# A command for WASI preview 1: source, object, result.
build_command() {
  clang --target=wasm32-wasi -Oz $warnings -c "$1" -o "$work/command.o"
  wasm-ld --strip-all --gc-sections -z stack-size=65536 -L"$sysroot" "$sysroot/crt1-command.o" "$work/command.o" -lc \
    "$builtins" -o "$2"
}

build_hello() {
  build_command hello/hello.c hello/hello.wasm
}

build_component() {
  build_command component/component.c "$work/component.core.wasm"
  # jco brings the adapter from preview 1 to 0.2.
  PATH="../node_modules/.bin:$PATH" jco new "$work/component.core.wasm" --wasi-command -o component/component.wasm
}

[ $# -gt 0 ] || set -- hash hello component
for guest in "$@"; do
  "build_$guest"
  echo "$guest/$guest.wasm: $(wc -c <"$guest/$guest.wasm") bytes"
done
