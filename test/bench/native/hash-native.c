/* The hash puzzle as a native program: `hash-native <input> <difficulty>` prints the answer and its CPU time in ms. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint32_t run(uint32_t input, int difficulty);

static double cpu_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  double before = cpu_ms();
  uint32_t answer = run((uint32_t)strtoul(argv[1], NULL, 10), atoi(argv[2]));
  printf("{\"answer\":\"%u\",\"cpuMs\":%f}\n", answer, cpu_ms() - before);
  return 0;
}
