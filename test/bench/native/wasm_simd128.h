/* What wasm-tasks/hash/hash.c uses of the header of that name, for a native compiler. */
#ifndef CAPMESH_BENCH_WASM_SIMD128_H
#define CAPMESH_BENCH_WASM_SIMD128_H

#include <stdint.h>

typedef int32_t v128_t __attribute__((vector_size(16)));

static inline int wasm_i32x4_all_true(v128_t v) {
  return v[0] != 0 && v[1] != 0 && v[2] != 0 && v[3] != 0;
}

#endif
