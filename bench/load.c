/*
 * Sends messages with as little work as can be: on a machine with few processors, what the client takes is missing to
 * the server. Threads stand for sessions.
 *
 * usage: load [FLAGS] HOST PORT SESSIONS MESSAGES OCTETS RECIPIENT DOMAINS
 *   -k N       messages over a connection; 0, which is the default: all of the session
 *   -o N       the number of the first message, instead of 1
 *   -f SENDER  the reverse-path, instead of sender@bench.test
 *   -F FILE    the message, its lines ending in LF, instead of OCTETS octets
 *   -t, -T     STARTTLS, or TLS at once, with whatever certificate (built with -DTLS)
 *   -l BASE64  the response of AUTH PLAIN
 * RECIPIENT may hold {n}: the number of the message, counted anew after DOMAINS.
 *
 * A message that is refused with 4yz is sent again 100 ms later, over another connection after 421, like its MAIL and RCPT. Prints JSON: seconds from the
 * first connection to the last reply; the median and the 99th of 100 of the milliseconds to the reply to the final dot,
 * from connecting, or from MAIL on a kept connection; how often a message was refused or a connection given up; of a message that is sent
 * alone, when its final dot was sent and when the reply was there, in seconds since 1970.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *context;
#else
typedef void SSL;
#endif

enum { PLAIN, STARTTLS, IMPLICIT };

struct peer {
  int socket;
  SSL *ssl;
};

static struct sockaddr_in server;
static long messages, domains, per_connection, first = 1;
static atomic_long next, deferred;
static const char *before, *after, *login, *sender = "sender@bench.test";
static int tls = PLAIN;
static char *content;
static size_t length;
static double *latencies, dot, replied;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static double since_1970(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void say(struct peer *peer, const char *text, size_t octets) {
  for (size_t at = 0; at < octets;) {
    ssize_t written;
#ifdef TLS
    if (peer->ssl) written = SSL_write(peer->ssl, text + at, octets - at);
    else
#endif
      written = write(peer->socket, text + at, octets - at);
    if (written <= 0) fail("write", strerror(errno));
    at += written;
  }
}

static ssize_t receive(struct peer *peer, char *buffer, size_t octets) {
#ifdef TLS
  if (peer->ssl) return SSL_read(peer->ssl, buffer, octets);
#endif
  return read(peer->socket, buffer, octets);
}

/*
 * Reads a reply to its last line: one whose code no hyphen follows. The server sends nothing behind it unasked.
 */
enum reply { AS_EXPECTED, LATER, CLOSED };

static enum reply expect(struct peer *peer, const char *code) {
  char reply[8192];
  size_t have = 0;
  for (;;) {
    ssize_t got = receive(peer, reply + have, sizeof reply - 1 - have);
    if (got <= 0) fail("read", got < 0 ? strerror(errno) : "the server has closed the connection");
    have += got;
    reply[have] = 0;
    if (reply[have - 1] != '\n') continue;
    char *line = reply;
    for (char *lf; (lf = strchr(line, '\n')) && lf[1]; line = lf + 1);
    if (strlen(line) < 4 || line[3] == '-') continue;
    if (strncmp(line, code, 3) == 0) return AS_EXPECTED;
    if (strncmp(line, "421", 3) == 0) return CLOSED;
    if (line[0] == '4') return LATER;
    fail("reply", line);
  }
}

static void must(struct peer *peer, const char *code) {
  if (expect(peer, code) != AS_EXPECTED) fail("refused, where a reply was to come of", code);
}

static void shake_hands(struct peer *peer) {
#ifdef TLS
  peer->ssl = SSL_new(context);
  SSL_set_fd(peer->ssl, peer->socket);
  if (SSL_connect(peer->ssl) != 1) fail("TLS", "no handshake");
#else
  (void)peer;
#endif
}

static void hello(struct peer *peer) {
  say(peer, "EHLO bench.test\r\n", 17);
  must(peer, "250");
}

/*
 * A server with a short backlog loses connections that the kernel has confirmed already: one that says nothing for five
 * seconds is given up for another.
 */
static int open_socket(void) {
  for (int attempt = 0; attempt < 20; attempt++) {
    int plain = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(plain, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // A server that does not answer is reported rather than waited for.
    struct timeval patience = { 60, 0 };
    setsockopt(plain, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(plain, (struct sockaddr *)&server, sizeof server) != 0) fail("connect", strerror(errno));
    struct pollfd greeting = { plain, POLLIN, 0 };
    // With TLS at once, the client speaks first.
    if (tls == IMPLICIT || poll(&greeting, 1, 5000) == 1) return plain;
    close(plain);
    atomic_fetch_add(&deferred, 1);
  }
  fail("connect", "no greeting");
  return -1;
}

static struct peer connect_peer(void) {
  struct peer peer = { open_socket(), NULL };
  if (tls == IMPLICIT) shake_hands(&peer);
  must(&peer, "220");
  hello(&peer);
  if (tls == STARTTLS) {
    say(&peer, "STARTTLS\r\n", 10);
    must(&peer, "220");
    shake_hands(&peer);
    hello(&peer);
  }
  if (login) {
    char line[600];
    say(&peer, line, snprintf(line, sizeof line, "AUTH PLAIN %s\r\n", login));
    must(&peer, "235");
  }
  return peer;
}

static void hang_up(struct peer *peer) {
#ifdef TLS
  if (peer->ssl) SSL_free(peer->ssl);
#endif
  close(peer->socket);
}

static void disconnect(struct peer *peer) {
  say(peer, "QUIT\r\n", 6);
  must(peer, "221");
  hang_up(peer);
}

static enum reply send_message(struct peer *peer, long number) {
  char path[400], commands[3][512];
  const char *codes[] = { "250", "250", "354" };
  snprintf(path, sizeof path, after ? "%s%ld%s" : "%s", before, (first + number - 1) % domains + 1, after);
  snprintf(commands[0], sizeof *commands, "MAIL FROM:<%s>\r\n", sender);
  snprintf(commands[1], sizeof *commands, "RCPT TO:<%s>\r\n", path);
  strcpy(commands[2], "DATA\r\n");
  for (int i = 0; i < 3; i++) {
    say(peer, commands[i], strlen(commands[i]));
    enum reply reply = expect(peer, codes[i]);
    if (reply != AS_EXPECTED) return reply;
  }
  if (messages == 1) dot = since_1970();
  say(peer, content, length);
  enum reply reply = expect(peer, "250");
  if (messages == 1) replied = since_1970();
  return reply;
}

static void *send_messages(void *unused) {
  (void)unused;
  struct peer peer;
  long sent = 0;
  int connected = 0;
  for (long number; (number = atomic_fetch_add(&next, 1)) < messages; sent++) {
    double begin = now();
    if (!connected) peer = connect_peer();
    connected = 1;
    for (enum reply reply; (reply = send_message(&peer, number)) != AS_EXPECTED;) {
      atomic_fetch_add(&deferred, 1);
      if (reply == CLOSED) hang_up(&peer);
      usleep(100000);
      if (reply == CLOSED) peer = connect_peer();
      else say(&peer, "RSET\r\n", 6), must(&peer, "250");
    }
    latencies[number] = now() - begin;
    if (per_connection == 0 || (sent + 1) % per_connection != 0) continue;
    disconnect(&peer);
    connected = 0;
  }
  if (connected) disconnect(&peer);
  return NULL;
}

/* A short header section, lines of 78 octets, and the final dot. */
static void make_content(long octets) {
  content = malloc(octets + 1000);
  length = sprintf(content, "From: <%s>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n", sender);
  do {
    memset(content + length, 'x', 78);
    memcpy(content + length + 78, "\r\n", 2);
    length += 80;
  } while (length < (size_t)octets);
  memcpy(content + length, ".\r\n", 3);
  length += 3;
}

static void read_content(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) fail(path, strerror(errno));
  fseek(file, 0, SEEK_END);
  content = malloc(2 * ftell(file) + 10);
  rewind(file);
  for (int octet; (octet = getc(file)) != EOF; content[length++] = octet) {
    if (octet == '\n') content[length++] = '\r';
    else if (octet == '.' && (length == 0 || content[length - 1] == '\n')) content[length++] = '.';
  }
  fclose(file);
  memcpy(content + length, ".\r\n", 3);
  length += 3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The smallest value that so many of 100 do not exceed. */
static double percentile(long percent) {
  long rank = (messages * percent + 99) / 100;
  return messages ? latencies[rank > 0 ? rank - 1 : 0] : 0;
}

int main(int count, char **words) {
  const char *file = NULL;
  for (int flag; (flag = getopt(count, words, "k:o:f:F:tTl:")) != -1;) {
    if (flag == 'k') per_connection = atol(optarg);
    else if (flag == 'o') first = atol(optarg);
    else if (flag == 'f') sender = optarg;
    else if (flag == 'F') file = optarg;
    else if (flag == 't') tls = STARTTLS;
    else if (flag == 'T') tls = IMPLICIT;
    else if (flag == 'l') login = optarg;
    else fail("usage", "see the top of load.c");
  }
  words += optind;
  if (count - optind != 7) fail("usage", "load [FLAGS] HOST PORT SESSIONS MESSAGES OCTETS RECIPIENT DOMAINS");
#ifdef TLS
  context = SSL_CTX_new(TLS_client_method());
  // A full handshake for each connection, as from many clients.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
#else
  if (tls != PLAIN) fail("TLS", "built without");
#endif
  // A server that closes is reported by write.
  signal(SIGPIPE, SIG_IGN);
  server.sin_family = AF_INET;
  server.sin_port = htons(atoi(words[1]));
  if (inet_pton(AF_INET, words[0], &server.sin_addr) != 1) fail("not an IPv4 address", words[0]);
  int sessions = atoi(words[2]);
  messages = atol(words[3]);
  if (file) read_content(file);
  else make_content(atol(words[4]));
  domains = atol(words[6]);
  before = words[5];
  char *place = strstr(words[5], "{n}");
  if (place) {
    *place = 0;
    after = place + 3;
  }
  latencies = calloc(messages + 1, sizeof *latencies);
  pthread_t threads[sessions];
  double begin = now();
  for (int i = 0; i < sessions; i++) pthread_create(&threads[i], NULL, send_messages, NULL);
  for (int i = 0; i < sessions; i++) pthread_join(threads[i], NULL);
  double seconds = (now() - begin) / 1e3;
  qsort(latencies, messages, sizeof *latencies, by_size);
  printf("{\"seconds\":%.6f,\"p50\":%.3f,\"p99\":%.3f,\"deferred\":%ld,\"dot\":%.6f,\"replied\":%.6f}\n", seconds,
    percentile(50), percentile(99), atomic_load(&deferred), dot, replied);
}
