/*
 * A command that shows what it was given, then does what it is told.
 *
 * On stdout: a greeting, its arguments, its environment in order of names, and all of its stdin. On stderr: one line with
 * the code it is about to exit with. Between the two it does, in their order, what these arguments say:
 *
 *   --sleep <ms>     wait without using the CPU
 *   --spam <bytes>   write so many bytes to stdout, in lines of 64
 *   --grow <MiB>     allocate so much and touch every page of it; exits with 12 if there is not so much
 *   --exit <code>    exit with this code at the end
 *   --trap           end in a trap
 *   --spin           never end
 *
 * Other arguments are shown and mean nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

enum { LINE_BYTES = 64, MEBIBYTE = 1024 * 1024, PAGE_BYTES = 65536, OUT_OF_MEMORY = 12 };

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void show_environment(void) {
  size_t count = 0;
  while (environ[count] != NULL) count++;
  qsort(environ, count, sizeof *environ, by_text);
  for (size_t i = 0; i < count; i++) printf("env %s\n", environ[i]);
}

static void copy_stdin(void) {
  static char chunk[PAGE_BYTES];
  size_t length;
  while ((length = fread(chunk, 1, sizeof chunk, stdin)) > 0) fwrite(chunk, 1, length, stdout);
}

static void sleep_for(long ms) {
  struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  while (nanosleep(&left, &left) != 0) continue;
}

static void spam(long bytes) {
  char line[LINE_BYTES];
  memset(line, '.', sizeof line);
  line[LINE_BYTES - 1] = '\n';
  for (; bytes > 0; bytes -= LINE_BYTES) fwrite(line, 1, bytes < LINE_BYTES ? (size_t)bytes : LINE_BYTES, stdout);
}

static int grow(long mebibytes) {
  for (; mebibytes > 0; mebibytes--) {
    volatile char *memory = malloc(MEBIBYTE);
    if (memory == NULL) return 0;
    for (size_t at = 0; at < MEBIBYTE; at += PAGE_BYTES) memory[at] = 1;
  }
  return 1;
}

int main(int argc, char **argv) {
  puts("hello from a guest");
  for (int i = 1; i < argc; i++) printf("arg %d %s\n", i, argv[i]);
  show_environment();
  copy_stdin();
  fflush(stdout);

  int code = 0;
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    const long value = i + 1 < argc ? strtol(argv[i + 1], NULL, 10) : 0;
    if (strcmp(name, "--sleep") == 0) sleep_for(value);
    else if (strcmp(name, "--spam") == 0) spam(value);
    else if (strcmp(name, "--grow") == 0 && !grow(value)) code = OUT_OF_MEMORY;
    else if (strcmp(name, "--exit") == 0) code = (int)value;
    else if (strcmp(name, "--trap") == 0) __builtin_trap();
    else if (strcmp(name, "--spin") == 0) for (volatile uint32_t turns = 0;; turns++) continue;
  }
  fflush(stdout);
  fprintf(stderr, "hello: exit %d\n", code);
  return code;
}
