/*
 * The hash puzzle: the smallest counter >= 1 for which sha256(decimal(input) + decimal(counter)), written in hex,
 * begins with `difficulty` zeros.
 *
 * One export, `run(i32 input, i32 difficulty) -> i32`; no import, no memory of its caller, no state that lasts.
 * `input` and the result are unsigned 32-bit numbers.
 *
 * The search hashes four counters at once, one in each lane of a 128-bit vector. A text of at most 20 digits is one
 * block of SHA-256, of which six words differ between counters and ten never do. From 100 on, counters go by hundreds:
 * within one only the last two digits change, and they are patched into a block that is laid out once. Since 100 is a
 * multiple of 4, four counters never differ in length.
 */
#include <stdint.h>
#include <wasm_simd128.h>

typedef uint32_t u32;
typedef uint32_t vec __attribute__((vector_size(16)));

enum {
  LANES = 4,
  /* Words of a block that a text of up to 20 digits and the bit after it can reach. */
  TEXT_WORDS = 6,
  HUNDRED = 100,
  GROUPS = HUNDRED / LANES,
  WORD_DIGITS = 8,
  DIGEST_DIGITS = 64,
};

static const u32 START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The counters up to 2^32 - 1 end within this hundred. */
#define LAST_HUNDRED (UINT32_MAX / HUNDRED * HUNDRED)

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
#define BIG_0(x) (ROTATE(x, 2) ^ ROTATE(x, 13) ^ ROTATE(x, 22))
#define BIG_1(x) (ROTATE(x, 6) ^ ROTATE(x, 11) ^ ROTATE(x, 25))
#define SMALL_0(x) (ROTATE(x, 7) ^ ROTATE(x, 18) ^ ((x) >> 3))
#define SMALL_1(x) (ROTATE(x, 17) ^ ROTATE(x, 19) ^ ((x) >> 10))
#define CHOOSE(e, f, g) ((g) ^ ((e) & ((f) ^ (g))))
#define MAJORITY(a, b, c) (((a) & (b)) ^ ((c) & ((a) ^ (b))))

/* One round, written so that the eight names turn instead of the eight values. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                    \
  {                                                                         \
    vec t = h + BIG_1(e) + CHOOSE(e, f, g) + K[round + (i)] + words[(i)];   \
    d += t;                                                                 \
    h = t + BIG_0(a) + MAJORITY(a, b, c);                                   \
  }
#define EIGHT_ROUNDS(i)                   \
  ROUND(a, b, c, d, e, f, g, h, (i) + 0)  \
  ROUND(h, a, b, c, d, e, f, g, (i) + 1)  \
  ROUND(g, h, a, b, c, d, e, f, (i) + 2)  \
  ROUND(f, g, h, a, b, c, d, e, (i) + 3)  \
  ROUND(e, f, g, h, a, b, c, d, (i) + 4)  \
  ROUND(d, e, f, g, h, a, b, c, (i) + 5)  \
  ROUND(c, d, e, f, g, h, a, b, (i) + 6)  \
  ROUND(b, c, d, e, f, g, h, a, (i) + 7)
#define NEXT_WORD(i) \
  words[i] += SMALL_1(words[((i) + 14) & 15]) + words[((i) + 9) & 15] + SMALL_0(words[((i) + 1) & 15]);

/* The digests of four texts, as eight words of four lanes. A caller that reads one word pays for one. */
static inline __attribute__((always_inline)) void hash(const vec text[TEXT_WORDS], u32 bits, vec digest[8]) {
  const vec zero = {0};
  vec words[16] = {text[0], text[1], text[2], text[3], text[4], text[5], zero, zero,
                   zero,    zero,    zero,    zero,    zero,    zero,    zero, zero + bits};
  vec a = zero + START[0], b = zero + START[1], c = zero + START[2], d = zero + START[3];
  vec e = zero + START[4], f = zero + START[5], g = zero + START[6], h = zero + START[7];
  /* Sixteen rounds a turn keeps the code small, which an engine compiles sooner, at no cost in speed. */
#pragma clang loop unroll(disable)
  for (int round = 0; round < 64; round += 16) {
    if (round > 0) {
      NEXT_WORD(0) NEXT_WORD(1) NEXT_WORD(2) NEXT_WORD(3) NEXT_WORD(4) NEXT_WORD(5) NEXT_WORD(6) NEXT_WORD(7)
      NEXT_WORD(8) NEXT_WORD(9) NEXT_WORD(10) NEXT_WORD(11) NEXT_WORD(12) NEXT_WORD(13) NEXT_WORD(14) NEXT_WORD(15)
    }
    EIGHT_ROUNDS(0)
    EIGHT_ROUNDS(8)
  }
  digest[0] = a + START[0];
  digest[1] = b + START[1];
  digest[2] = c + START[2];
  digest[3] = d + START[3];
  digest[4] = e + START[4];
  digest[5] = f + START[5];
  digest[6] = g + START[6];
  digest[7] = h + START[7];
}

/* The bits that must be zero in word `index` of a digest that begins with so many zero digits. */
static u32 mask_of(int digits, int index) {
  int in_word = digits - WORD_DIGITS * index;
  if (in_word <= 0) return 0;
  return in_word >= WORD_DIGITS ? 0xffffffff : ~(0xffffffff >> (4 * in_word));
}

static int write_decimal(unsigned char *out, u32 number) {
  unsigned char reversed[10];
  int length = 0;
  do {
    reversed[length++] = '0' + number % 10;
    number /= 10;
  } while (number > 0);
  for (int i = 0; i < length; i++) out[i] = reversed[length - 1 - i];
  return length;
}

/* Lays out the words that differ for one counter. Returns the length of its text in bytes. */
static __attribute__((noinline)) u32 lay_out(u32 input, u32 counter, u32 words[TEXT_WORDS]) {
  unsigned char bytes[4 * TEXT_WORDS] = {0};
  int length = write_decimal(bytes, input);
  length += write_decimal(bytes + length, counter);
  bytes[length] = 0x80;
  for (int i = 0; i < TEXT_WORDS; i++) {
    const unsigned char *b = bytes + 4 * i;
    words[i] = (u32)b[0] << 24 | (u32)b[1] << 16 | (u32)b[2] << 8 | b[3];
  }
  return (u32)length;
}

/* Whether one counter solves the puzzle: its whole digest, where the search looks at the first word alone. */
static __attribute__((noinline)) int has_zeros(u32 input, u32 counter, int difficulty) {
  u32 words[TEXT_WORDS];
  u32 length = lay_out(input, counter, words);
  vec text[TEXT_WORDS], digest[8];
  for (int i = 0; i < TEXT_WORDS; i++) text[i] = (vec){words[i], words[i], words[i], words[i]};
  hash(text, length * 8, digest);
  for (int i = 0; i < 8; i++) {
    if ((digest[i][0] & mask_of(difficulty, i)) != 0) return 0;
  }
  return 1;
}

/*
 * Looks through groups of four counters, from group `from` on, for the first whose digest begins as `mask` says. Each
 * group's text is `text` with its patch in the words `at` and `at + 1`. Returns its place, 4 * group + lane, or -1. It is
 * a function of its own, called over and over, so that an engine can replace its code by better code during one run.
 */
static __attribute__((noinline)) int search(const vec text[TEXT_WORDS], u32 bits, u32 mask, u32 at,
                                            const vec (*patches)[2], int from, int groups) {
  vec patched[TEXT_WORDS];
  for (int i = 0; i < TEXT_WORDS; i++) patched[i] = text[i];
  for (int group = from; group < groups; group++) {
    patched[at] = text[at] | patches[group][0];
    patched[at + 1] = text[at + 1] | patches[group][1];
    vec digest[8];
    hash(patched, bits, digest);
    vec rest = digest[0] & mask;
    if (!wasm_i32x4_all_true((v128_t)rest)) {
      for (int lane = 0; lane < LANES; lane++) {
        if (rest[lane] == 0) return LANES * group + lane;
      }
    }
  }
  return -1;
}

/*
 * What the last two digits add to a text of `length` bytes that ends in "00": for each group of four counters, two words
 * beginning with word (length - 2) / 4.
 */
static __attribute__((noinline)) void make_patches(u32 length, vec patches[GROUPS][2]) {
  u32 shift = (length - 2) % 4 * 8;
  for (u32 i = 0; i < HUNDRED; i++) {
    uint64_t digits = (uint64_t)(i / 10 << 8 | i % 10) << 48 >> shift;
    patches[i / LANES][0][i % LANES] = (u32)(digits >> 32);
    patches[i / LANES][1][i % LANES] = (u32)digits;
  }
}

/*
 * Whether a counter that the search found solves the puzzle. Up to eight digits the search has decided it; so a lane
 * behind the one it found, of which it has not told, is asked for only where the whole digest is looked at.
 */
static int solves(u32 input, u32 counter, int difficulty) {
  return difficulty <= WORD_DIGITS || has_zeros(input, counter, difficulty);
}

/* The first counter from `first` to `last` that solves the puzzle, or 0; all of them have the same number of digits. */
static u32 search_few(u32 input, int difficulty, u32 first, u32 last) {
  static const vec no_patch[1][2];
  for (u32 counter = first; counter <= last; counter += LANES) {
    vec text[TEXT_WORDS];
    u32 length = 0;
    for (u32 lane = 0; lane < LANES; lane++) {
      u32 words[TEXT_WORDS];
      /* Where fewer than four are left the last stands for those that are not there. */
      length = lay_out(input, counter + lane < last ? counter + lane : last, words);
      for (int i = 0; i < TEXT_WORDS; i++) text[i][lane] = words[i];
    }
    int lane = search(text, length * 8, mask_of(difficulty, 0), 0, no_patch, 0, 1);
    if (lane < 0) continue;
    for (u32 found = counter + (u32)lane; found < counter + LANES && found <= last; found++) {
      if (solves(input, found, difficulty)) return found;
    }
  }
  return 0;
}

/* The first counter of a hundred that solves the puzzle, or 0. `patches` fit a text of `length` bytes. */
static u32 search_hundred(u32 input, int difficulty, u32 hundred, const vec (*patches)[2], const u32 words[TEXT_WORDS],
                          u32 length) {
  vec text[TEXT_WORDS];
  for (int i = 0; i < TEXT_WORDS; i++) text[i] = (vec){words[i], words[i], words[i], words[i]};
  /* The last hundred ends with 2^32 - 1, its 96th. */
  int groups = hundred == LAST_HUNDRED ? (int)((UINT32_MAX - LAST_HUNDRED) / LANES + 1) : GROUPS;
  for (int from = 0; from < groups;) {
    int place = search(text, length * 8, mask_of(difficulty, 0), (length - 2) / 4, patches, from, groups);
    if (place < 0) return 0;
    from = place / LANES + 1;
    for (; place < from * LANES; place++) {
      if (solves(input, hundred + (u32)place, difficulty)) return hundred + (u32)place;
    }
  }
  return 0;
}

__attribute__((export_name("run"))) u32 run(u32 input, int difficulty) {
  /* No digest has so many digits. */
  if (difficulty > DIGEST_DIGITS) __builtin_trap();
  u32 found = search_few(input, difficulty, 1, 9);
  if (found == 0) found = search_few(input, difficulty, 10, 99);
  if (found != 0) return found;

  vec patches[GROUPS][2];
  u32 patched_length = 0;
  for (u32 hundred = HUNDRED;; hundred += HUNDRED) {
    u32 words[TEXT_WORDS];
    u32 length = lay_out(input, hundred, words);
    if (length != patched_length) {
      make_patches(length, patches);
      patched_length = length;
    }
    found = search_hundred(input, difficulty, hundred, (const vec(*)[2])patches, words, length);
    if (found != 0) return found;
    /* No counter of 32 bits solves it. */
    if (hundred == LAST_HUNDRED) __builtin_trap();
  }
}
