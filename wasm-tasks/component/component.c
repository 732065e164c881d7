/*
 * A component of WASI 0.2 with the world `wasi:cli/command`. It shows its arguments and its environment on stdout, in
 * the order they came, and says goodbye on stderr. It ends well, or, given the argument `--fail`, badly: a component's `run` has no exit
 * code but only ok or error.
 *
 * It is written against WASI preview 1, which C's library speaks; the build wraps it in the adapter that turns that
 * into 0.2. What it does not use, sockets say, it does not import.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
  int fails = 0;
  puts("hello from a component");
  for (int i = 1; i < argc; i++) {
    printf("arg %d %s\n", i, argv[i]);
    fails |= strcmp(argv[i], "--fail") == 0;
  }
  for (char **entry = environ; *entry != NULL; entry++) printf("env %s\n", *entry);
  fflush(stdout);
  fputs(fails ? "component: failing, as told\n" : "component: done\n", stderr);
  return fails ? EXIT_FAILURE : EXIT_SUCCESS;
}
