/* Exercises a guest's private files through libc. Prints the first check that fails, with errno, and exits 1. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                              \
  do {                                                           \
    errno = 0;                                                   \
    if (!(what)) {                                               \
      printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); \
      exit(1);                                                   \
    }                                                            \
  } while (0)
#define FAILS(what, expected) CHECK((what) == -1 && errno == (expected))

static void put(const char *path, const char *text) {
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);
  CHECK(fd >= 0);
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  CHECK(close(fd) == 0);
}

static int count_entries(const char *path) {
  DIR *directory = opendir(path);
  CHECK(directory != NULL);
  int count = 0;
  while (readdir(directory) != NULL) count++;
  CHECK(closedir(directory) == 0);
  return count;
}

static void check_content(void) {
  char text[64] = {0};
  put("/a.txt", "hello files");
  int fd = open("/a.txt", O_RDWR);
  CHECK(fd >= 0);
  CHECK(lseek(fd, 6, SEEK_SET) == 6);
  CHECK(read(fd, text, sizeof text) == 5 && memcmp(text, "files", 5) == 0);
  CHECK(read(fd, text, sizeof text) == 0);
  CHECK(lseek(fd, -5, SEEK_END) == 6);
  CHECK(pwrite(fd, "FILES", 5, 6) == 5);
  CHECK(pread(fd, text, 11, 0) == 11 && memcmp(text, "hello FILES", 11) == 0);
  CHECK(lseek(fd, 0, SEEK_CUR) == 6);
  FAILS(lseek(fd, -7, SEEK_SET), EINVAL);
  CHECK(ftruncate(fd, 5) == 0);
  CHECK(lseek(fd, 0, SEEK_END) == 5);
  CHECK(lseek(fd, 8, SEEK_SET) == 8);
  CHECK(write(fd, "!", 1) == 1);
  CHECK(pread(fd, text, 9, 0) == 9 && memcmp(text, "hello\0\0\0!", 9) == 0);
  CHECK(close(fd) == 0);
  FAILS(read(fd, text, 1), EBADF);
  fd = open("/a.txt", O_WRONLY | O_APPEND);
  CHECK(write(fd, "+", 1) == 1 && lseek(fd, 0, SEEK_CUR) == 10);
  FAILS(read(fd, text, 1), EBADF);
  CHECK(close(fd) == 0);
  FAILS(open("/a.txt", O_CREAT | O_EXCL | O_WRONLY, 0666), EEXIST);
  FAILS(open("/none", O_RDONLY), ENOENT);
  FAILS(open("/a.txt/x", O_RDONLY), ENOTDIR);
  FAILS(open("/a.txt", O_RDONLY | O_DIRECTORY), ENOTDIR);
  fd = open("/huge", O_CREAT | O_RDWR, 0666);
  CHECK(ftruncate(fd, 1LL << 40) == -1 && errno == EFBIG);
  CHECK(close(fd) == 0 && unlink("/huge") == 0);
}

static void check_stat(void) {
  struct stat st;
  CHECK(stat("/a.txt", &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 10 && st.st_nlink == 1);
  struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
  CHECK(utimensat(AT_FDCWD, "/a.txt", times, 0) == 0);
  CHECK(stat("/a.txt", &st) == 0 && st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7);
  CHECK(stat("/", &st) == 0 && S_ISDIR(st.st_mode));
  FAILS(stat("/none", &st), ENOENT);
}

static void check_directories(void) {
  CHECK(mkdir("/d", 0777) == 0);
  FAILS(mkdir("/d", 0777), EEXIST);
  CHECK(mkdir("/d/e", 0777) == 0);
  char path[32];
  for (int i = 0; i < 300; i++) {
    snprintf(path, sizeof path, "/d/file-%d", i);
    put(path, "x");
  }
  CHECK(count_entries("/d") == 303);
  FAILS(rmdir("/d"), ENOTEMPTY);
  FAILS(unlink("/d/e"), EISDIR);
  FAILS(rmdir("/a.txt"), ENOTDIR);
  DIR *directory = opendir("/d");
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (strncmp(entry->d_name, "file-", 5) != 0) continue;
    snprintf(path, sizeof path, "/d/%s", entry->d_name);
    CHECK(unlink(path) == 0);
  }
  CHECK(closedir(directory) == 0);
  CHECK(count_entries("/d") == 3);
  CHECK(rename("/d/e", "/d/f") == 0);
  FAILS(rename("/d", "/d/f/g"), EINVAL);
  FAILS(rename("/a.txt", "/d"), EISDIR);
  FAILS(rename("/d", "/a.txt"), ENOTDIR);
  put("/b.txt", "b");
  CHECK(rename("/b.txt", "/a2.txt") == 0);
  FAILS(open("/b.txt", O_RDONLY), ENOENT);
  CHECK(rmdir("/d/f") == 0 && rmdir("/d") == 0);
}

static void check_links(void) {
  char text[16] = {0};
  struct stat st, other;
  CHECK(link("/a2.txt", "/hard") == 0);
  CHECK(stat("/hard", &st) == 0 && st.st_nlink == 2 && stat("/a2.txt", &other) == 0 && st.st_ino == other.st_ino);
  CHECK(symlink("a2.txt", "/soft") == 0);
  CHECK(readlink("/soft", text, sizeof text) == 6 && memcmp(text, "a2.txt", 6) == 0);
  CHECK(lstat("/soft", &st) == 0 && S_ISLNK(st.st_mode));
  CHECK(stat("/soft", &st) == 0 && S_ISREG(st.st_mode));
  int fd = open("/soft", O_RDONLY);
  CHECK(fd >= 0 && read(fd, text, 1) == 1 && text[0] == 'b');
  CHECK(unlink("/a2.txt") == 0 && unlink("/hard") == 0);
  CHECK(pread(fd, text, 1, 0) == 1);
  CHECK(close(fd) == 0);
  FAILS(open("/soft", O_RDONLY), ENOENT);
  CHECK(symlink("loop", "/loop") == 0);
  FAILS(open("/loop", O_RDONLY), ELOOP);
  CHECK(symlink("../../etc", "/out") == 0);
  FAILS(open("/out/passwd", O_RDONLY), EPERM);
  FAILS(open("/../etc/passwd", O_RDONLY), EPERM);
  CHECK(unlink("/soft") == 0 && unlink("/loop") == 0 && unlink("/out") == 0);
}

static void check_quota(void) {
  static char block[1 << 20];
  int fd = open("/fill", O_CREAT | O_WRONLY, 0666);
  long written = 0;
  for (ssize_t count; (count = write(fd, block, sizeof block)) > 0;) written += count;
  CHECK(written >= 64 << 20 && written <= 512 << 20);
  FAILS(write(fd, block, sizeof block), ENOSPC);
  CHECK(close(fd) == 0 && unlink("/fill") == 0);
  put("/again", "room");
}

int main(void) {
  check_content();
  check_stat();
  check_directories();
  check_links();
  check_quota();
  puts("all right");
  return 0;
}
