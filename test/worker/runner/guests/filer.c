/*
 * Does with its files what its arguments say, one command after another:
 *
 *   cat PATH | put PATH TEXT | fill PATH BYTES | many PREFIX COUNT | cp FROM TO | mkdir PATH | ln TARGET PATH
 *   hard FROM TO | rm PATH | exit CODE | abort
 *
 * The first that fails is named on stderr, and it exits 99.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char block[65536];

static int copy(int from, int to) {
  for (;;) {
    ssize_t count = read(from, block, sizeof block);
    if (count <= 0) return (int)count;
    if (write(to, block, (size_t)count) != count) return -1;
  }
}

static int create(const char *path) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666); }

static int put(const char *path, const char *text) {
  int fd = create(path);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) return -1;
  return close(fd);
}

static int fill(const char *path, long bytes) {
  int fd = create(path);
  if (fd < 0 || ftruncate(fd, bytes) != 0) return -1;
  return close(fd);
}

static int many(const char *prefix, long count) {
  char path[256];
  for (long index = 0; index < count; index++) {
    snprintf(path, sizeof path, "%s%ld", prefix, index);
    if (fill(path, 0) != 0) return -1;
  }
  return 0;
}

static int cat(const char *path) {
  int fd = open(path, O_RDONLY);
  return fd < 0 ? -1 : copy(fd, 1);
}

static int cp(const char *from, const char *to) {
  int source = open(from, O_RDONLY), target = create(to);
  return source < 0 || target < 0 || copy(source, target) != 0 ? -1 : close(target);
}

/* Carries out the command at `argv`, and returns how many arguments it took; below 0: it failed. */
static int carry_out(char **argv, int left) {
  const char *name = argv[0], *a = left > 1 ? argv[1] : "", *b = left > 2 ? argv[2] : "";
  if (strcmp(name, "abort") == 0) abort();
  if (strcmp(name, "exit") == 0) exit(atoi(a));
  if (strcmp(name, "cat") == 0) return cat(a) == 0 ? 2 : -1;
  if (strcmp(name, "rm") == 0) return unlink(a) == 0 ? 2 : -1;
  if (strcmp(name, "mkdir") == 0) return mkdir(a, 0777) == 0 ? 2 : -1;
  if (strcmp(name, "put") == 0) return put(a, b) == 0 ? 3 : -1;
  if (strcmp(name, "fill") == 0) return fill(a, atol(b)) == 0 ? 3 : -1;
  if (strcmp(name, "many") == 0) return many(a, atol(b)) == 0 ? 3 : -1;
  if (strcmp(name, "cp") == 0) return cp(a, b) == 0 ? 3 : -1;
  if (strcmp(name, "ln") == 0) return symlink(a, b) == 0 ? 3 : -1;
  if (strcmp(name, "hard") == 0) return link(a, b) == 0 ? 3 : -1;
  return -1;
}

int main(int argc, char **argv) {
  for (int at = 1; at < argc;) {
    int taken = carry_out(argv + at, argc - at);
    if (taken < 0) {
      perror(argv[at]);
      return 99;
    }
    at += taken;
  }
  return 0;
}
