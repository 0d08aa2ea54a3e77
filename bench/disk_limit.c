/*
 * What the disk allows a server that keeps its word: each message is created in tmp/, written, synced, renamed into
 * new/, and the directory synced, and nothing else is done. Threads stand for sessions.
 *
 * usage: disk_limit DIR THREADS MESSAGES OCTETS
 * prints: messages a second
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *dir;
static int directory;
static long messages, octets;
static atomic_long next;
static char *content;

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void *deliver(void *unused) {
  (void)unused;
  for (long n; (n = atomic_fetch_add(&next, 1)) < messages;) {
    char staged[4096], final[4096];
    snprintf(staged, sizeof staged, "%s/tmp/%ld", dir, n);
    snprintf(final, sizeof final, "%s/new/%ld", dir, n);
    int file = open(staged, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (file < 0) fail("open");
    for (long at = 0; at < octets;) {
      ssize_t written = write(file, content + at, octets - at);
      if (written < 0) fail("write");
      at += written;
    }
    if (fdatasync(file) < 0) fail("fdatasync");
    if (close(file) < 0) fail("close");
    if (rename(staged, final) < 0) fail("rename");
    if (fsync(directory) < 0) fail("fsync");
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: disk_limit DIR THREADS MESSAGES OCTETS\n");
    return 64;
  }
  dir = argv[1];
  int threads = atoi(argv[2]);
  messages = atol(argv[3]);
  octets = atol(argv[4]);
  content = malloc(octets);
  if (content == NULL) fail("malloc");
  memset(content, 'x', octets);

  char path[4096];
  snprintf(path, sizeof path, "%s/tmp", dir);
  if (mkdir(path, 0700) < 0) fail("mkdir");
  snprintf(path, sizeof path, "%s/new", dir);
  if (mkdir(path, 0700) < 0) fail("mkdir");
  directory = open(path, O_RDONLY | O_DIRECTORY);
  if (directory < 0) fail("open");

  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  pthread_t *running = calloc(threads, sizeof *running);
  for (int i = 0; i < threads; i++)
    if (pthread_create(&running[i], NULL, deliver, NULL) != 0) fail("pthread_create");
  for (int i = 0; i < threads; i++) pthread_join(running[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &end);
  double seconds = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9;
  printf("%.1f\n", messages / seconds);
  return 0;
}
