#!/bin/sh
# Rebuilds the guests of these tests from their sources (Debian: clang lld wasi-libc libclang-rt-dev-wasm32).
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sysroot=/usr/lib/wasm32-wasi
for guest in files streams filer copy; do
  clang --target=wasm32-wasi -Oz -Wall -Wextra -Werror -c "$guest.c" -o "$work/$guest.o"
  wasm-ld --strip-all --gc-sections -z stack-size=65536 -L"$sysroot" "$sysroot/crt1-command.o" "$work/$guest.o" \
    -lc-printscan-no-floating-point -lc \
    "$(clang --target=wasm32-wasi -print-libgcc-file-name)" -o "$guest.wasm"
done
# The same program as a component of WASI 0.2: jco brings the adapter.
PATH="../../../../node_modules/.bin:$PATH" jco new filer.wasm --wasi-command -o filer.component.wasm
