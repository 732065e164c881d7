/* Prints arguments and environment, copies stdin, and tells the time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) printf("arg %s\n", argv[i]);
  for (char **entry = environ; *entry != NULL; entry++) printf("env %s\n", *entry);
  char buffer[4096];
  for (size_t count; (count = fread(buffer, 1, sizeof buffer, stdin)) > 0;) fwrite(buffer, 1, count, stdout);
  struct timespec before, after, nap = {.tv_nsec = 20000000};
  clock_gettime(CLOCK_MONOTONIC, &before);
  nanosleep(&nap, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
  fprintf(stderr, "slept %s\n", ms >= 19 && ms < 5000 ? "well" : "badly");
  fprintf(stderr, "year %s\n", time(NULL) > 1700000000 ? "plausible" : "odd");
  return isatty(0) ? 1 : 0;
}
