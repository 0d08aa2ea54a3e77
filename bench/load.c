/*
 * Sends messages over kept connections with as little work as smtp-source, which cannot send to many domains: on a
 * machine with few processors, what the client takes is missing to the server. Threads stand for sessions.
 *
 * usage: load HOST PORT SESSIONS MESSAGES OCTETS RECIPIENT DOMAINS
 * RECIPIENT may hold {n}: the number of the message, from 1, counted anew after DOMAINS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sockaddr_in server;
static long messages, domains;
static atomic_long next = 1;
static const char *before, *after;
static char *content;
static size_t length;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  exit(1);
}

static void say(int peer, const char *text, size_t octets) {
  for (size_t at = 0; at < octets;) {
    ssize_t written = write(peer, text + at, octets - at);
    if (written < 0) fail("write", strerror(errno));
    at += written;
  }
}

/* Reads a reply to its last line: one whose code no hyphen follows. The server sends nothing behind it unasked. */
static void expect(int peer, const char *code) {
  char reply[8192];
  size_t have = 0;
  for (;;) {
    ssize_t got = read(peer, reply + have, sizeof reply - 1 - have);
    if (got <= 0) fail("read", got < 0 ? strerror(errno) : "the server has closed the connection");
    have += got;
    reply[have] = 0;
    if (reply[have - 1] != '\n') continue;
    char *line = reply;
    for (char *lf; (lf = strchr(line, '\n')) && lf[1]; line = lf + 1);
    if (strlen(line) < 4 || line[3] == '-') continue;
    if (strncmp(line, code, 3) != 0) fail("reply", line);
    return;
  }
}

static void *send_messages(void *unused) {
  (void)unused;
  int peer = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(peer, (struct sockaddr *)&server, sizeof server) != 0) fail("connect", strerror(errno));
  expect(peer, "220");
  say(peer, "EHLO bench.test\r\n", 17);
  expect(peer, "250");
  for (long n; (n = atomic_fetch_add(&next, 1)) <= messages;) {
    char recipient[512];
    const char *number = after ? "%s%ld%s" : "%s";
    char path[400];
    snprintf(path, sizeof path, number, before, (n - 1) % domains + 1, after);
    int octets = snprintf(recipient, sizeof recipient, "RCPT TO:<%s>\r\n", path);
    say(peer, "MAIL FROM:<sender@bench.test>\r\n", 31);
    expect(peer, "250");
    say(peer, recipient, octets);
    expect(peer, "250");
    say(peer, "DATA\r\n", 6);
    expect(peer, "354");
    say(peer, content, length);
    expect(peer, "250");
  }
  say(peer, "QUIT\r\n", 6);
  expect(peer, "221");
  close(peer);
  return NULL;
}

/* A short header section, lines of 78 octets, and the final dot. */
static void make_content(long octets) {
  static const char header[] =
    "From: <sender@bench.test>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n";
  content = malloc(octets + 200);
  length = sprintf(content, "%s", header);
  do {
    memset(content + length, 'x', 78);
    memcpy(content + length + 78, "\r\n", 2);
    length += 80;
  } while (length < (size_t)octets);
  memcpy(content + length, ".\r\n", 3);
  length += 3;
}

int main(int count, char **words) {
  if (count != 8) fail("usage", "load HOST PORT SESSIONS MESSAGES OCTETS RECIPIENT DOMAINS");
  server.sin_family = AF_INET;
  server.sin_port = htons(atoi(words[2]));
  if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1) fail("not an IPv4 address", words[1]);
  int sessions = atoi(words[3]);
  messages = atol(words[4]);
  make_content(atol(words[5]));
  domains = atol(words[7]);
  before = words[6];
  char *place = strstr(words[6], "{n}");
  if (place) {
    *place = 0;
    after = place + 3;
  }
  pthread_t threads[sessions];
  for (int i = 0; i < sessions; i++) pthread_create(&threads[i], NULL, send_messages, NULL);
  for (int i = 0; i < sessions; i++) pthread_join(threads[i], NULL);
}
