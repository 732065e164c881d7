// Copies the file that its first argument names to the one that the second does, whose folder it makes.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  char folder[256] = {0};
  const char *slash = strrchr(argv[2], '/');
  if (slash != NULL) {
    strncpy(folder, argv[2], (size_t)(slash - argv[2]));
    mkdir(folder, 0777);
  }
  FILE *from = fopen(argv[1], "rb");
  FILE *to = fopen(argv[2], "wb");
  if (from == NULL || to == NULL) return 1;
  char bytes[4096];
  size_t count;
  while ((count = fread(bytes, 1, sizeof bytes, from)) > 0) fwrite(bytes, 1, count, to);
  return fclose(to) == 0 ? 0 : 1;
}
