/* load: an SMTP client that costs next to nothing, for measuring servers on loopback.
 *
 * One thread, one epoll set, edge triggered. Every session plays one dialogue:
 *
 *     connect, EHLO, ( MAIL, RCPT × n, DATA, body ) × many, QUIT
 *
 * and waits for each reply, as a client without PIPELINING does (--pipeline sends
 * MAIL, RCPT and DATA together; --bdat sends the message as one chunk instead of DATA). A reply is read by a four-column automaton, so that
 * no session owns a buffer; the body is one read-only text shared by all sessions, and
 * only a head of some 200 octets, with the unique Message-ID, belongs to a session.
 *
 * --tls begins with a TLS 1.3 handshake, --starttls says STARTTLS; --resume lets each
 * session resume the TLS session of its last connection. With --handshakes a session
 * only connects, shakes hands and leaves, and these count in place of messages.
 *
 * Prints one JSON object. Exit status: 0 all acknowledged, 1 something was refused or
 * broke (without --tolerant), 2 bad usage, 3 nothing moved for --timeout seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"

enum {
    EVENTS = 256,         /* taken from epoll in one call */
    REPLY_OCTETS = 4096,  /* one read; replies are some 50 octets */
    HEAD_OCTETS = 512,    /* header section of a message */
    COMMAND_OCTETS = 512, /* one command; a pipelined group is built in `group` */
    ID_DIGITS = 12,       /* decimal digits of the counter in a Message-ID */
    LINE_OCTETS = 78,     /* a line of the body, CRLF included */
    PAUSE_MS = 20,        /* before a broken session connects again */
    FINE = 32,            /* histogram buckets per power of two: 3 % apart */
};

enum state {
    AWAY, CONNECTING, SHAKING, GREETING, EHLO, STARTTLS, MAIL, RCPT, DATA, BODY, RSET, QUIT
};

struct session {
    int fd;
    void *ssl;    /* NULL: in clear */
    void *ticket; /* what the next connection resumes with */
    uint8_t state;
    uint8_t column; /* of the reply line that is being read, at most 4 */
    uint8_t last;   /* this line ends the reply (no '-' after the code) */
    uint8_t failed; /* this transaction was refused */
    uint16_t code;
    uint32_t pending; /* replies still due before the next step */
    uint32_t recipient;
    uint64_t number; /* of the message in flight */
    uint64_t since;  /* ns; BODY: when its last octet was written; AWAY: when it broke */
    size_t sent, size; /* of what is being written; sent == size: nothing */
    char head[HEAD_OCTETS];
};

static struct {
    const char *host, *to, *from, *tag, *acked;
    int port, sessions, recipients, mailboxes, per_connection, pipeline, tolerant;
    int implicit, starttls, resume, handshakes, bdat;
    size_t payload;
    uint64_t messages;
    double seconds, timeout;
} opt = {
    .host = "127.0.0.1", .to = "user@example.test", .from = "load@sender.example",
    .tag = "", .sessions = 20, .recipients = 1, .payload = 4096,
    .messages = UINT64_MAX, .timeout = 60,
};

static struct sockaddr_storage peer;
static socklen_t peer_size;
static struct session *sessions;
static int poller, acked_file = -1, away, stopping;
static volatile sig_atomic_t told_to_stop;
static uint64_t started, acknowledged, refused, broken, shaken, resumed;
static uint64_t begun_at, deadline, last_progress, finished_at;
static char *body, *group, acked_text[EVENTS * 64];
static size_t body_size, head_size, id_at, group_size, acked_size;
static char first_error[256];
static uint64_t latency[64 * FINE], slowest;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void complain(const char *what, const char *detail) {
    if (!first_error[0])
        snprintf(first_error, sizeof first_error, "%s: %s", what, detail);
}

static void observe(uint64_t ns) {
    uint64_t us32 = ns * FINE / 1000 + FINE; /* microseconds + 1 in steps of 1/32 */
    int power = 63 - __builtin_clzll(us32) - 5;
    latency[(size_t)power * FINE + ((us32 >> power) & (FINE - 1))]++;
    if (ns > slowest)
        slowest = ns;
}

static double percentile(double part) {
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < 64 * FINE; i++)
        all += latency[i];
    for (size_t i = 0; i < 64 * FINE; i++) {
        seen += latency[i];
        if (seen && (double)seen >= part * (double)all) {
            double us = (double)((i % FINE + FINE) << (i / FINE)) / FINE - 1;
            return us < (double)slowest / 1000 ? us : (double)slowest / 1000;
        }
    }
    return 0;
}

/* -- what is sent ---------------------------------------------------------------- */

static int write_head(char *text, const char *chunk, const char *date) {
    return snprintf(text, HEAD_OCTETS,
                    "%sFrom: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: load\r\n"
                    "Message-ID: <%s%0*d@load.invalid>\r\n\r\n",
                    chunk, opt.from, opt.to, date, opt.tag, ID_DIGITS, 0);
}

static void compose(void) {
    char date[64], text[HEAD_OCTETS], chunk[40] = "";
    time_t clock = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", gmtime(&clock));
    if (opt.payload == 1)
        opt.payload = 2; /* the least that is a line */
    int n = write_head(text, chunk, date);
    if (opt.bdat && n > 0) {
        snprintf(chunk, sizeof chunk, "BDAT %zu LAST\r\n", (size_t)n + opt.payload);
        n = write_head(text, chunk, date);
    }
    if (n < 0 || (size_t)n >= sizeof text) {
        fputs("load: --from, --to and --tag are too long together\n", stderr);
        exit(2);
    }
    head_size = (size_t)n;
    id_at = (size_t)(strstr(text, "Message-ID: <") - text) + 13 + strlen(opt.tag);
    for (int i = 0; i < opt.sessions; i++)
        memcpy(sessions[i].head, text, head_size);
    body = malloc(opt.payload + LINE_OCTETS + 3);
    for (size_t i = 0; i < opt.payload; i++) {
        size_t column = i % LINE_OCTETS;
        body[i] = column == LINE_OCTETS - 2   ? '\r'
                  : column == LINE_OCTETS - 1 ? '\n'
                                              : (char)('a' + i / LINE_OCTETS % 26);
    }
    if (opt.payload >= 2) /* the last line ends whatever its length */
        memcpy(body + opt.payload - 2, "\r\n", 2);
    if (opt.payload >= 3 && body[opt.payload - 3] == '\r')
        body[opt.payload - 3] = 'z';
    memcpy(body + opt.payload, ".\r\n", 3);
    body_size = opt.payload + (opt.bdat ? 0 : 3);
}

static size_t recipient(char *out, size_t room, uint64_t number, uint32_t n) {
    int size;
    if (opt.mailboxes) {
        uint64_t box = (number * (uint64_t)opt.recipients + n) % (uint64_t)opt.mailboxes;
        size = snprintf(out, room, "RCPT TO:<user%04d@%s>\r\n", (int)box + 1,
                        strchr(opt.to, '@') + 1);
    } else if (n + 1 < (uint32_t)opt.recipients) /* as smtp-source names them */
        size = snprintf(out, room, "RCPT TO:<%d%s>\r\n", opt.recipients - (int)n, opt.to);
    else
        size = snprintf(out, room, "RCPT TO:<%s>\r\n", opt.to);
    return (size_t)size;
}

static void watch(struct session *s, uint32_t events, int how) {
    struct epoll_event e = {.events = events | EPOLLET, .data.ptr = s};
    epoll_ctl(poller, how, s->fd, &e);
}

static void lose(struct session *s, const char *why);

static ssize_t put(struct session *s, const char *text, size_t size) {
    if (s->ssl)
        return tls_outcome(s->ssl, tls.SSL_write(s->ssl, text, (int)size));
    return send(s->fd, text, size, MSG_NOSIGNAL);
}

/* Writes a whole command at once: it always fits into an empty socket buffer. */
static void say(struct session *s, enum state state, const char *text, size_t size) {
    s->state = state;
    s->pending = 1;
    if (put(s, text, size) != (ssize_t)size)
        lose(s, "send");
}

/* A record of head and body from `sent` on; the same again when it must wait. */
static ssize_t put_record(struct session *s) {
    size_t from = s->sent, all = 0;
    if (from < head_size) {
        all = head_size - from;
        memcpy(tls.record, s->head + from, all);
        from = head_size;
    }
    size_t rest = body_size - (from - head_size);
    size_t more = rest < RECORD_OCTETS - all ? rest : RECORD_OCTETS - all;
    memcpy(tls.record + all, body + from - head_size, more);
    return put(s, tls.record, all + more);
}

static void say_body(struct session *s) {
    while (s->sent < s->size) {
        struct iovec parts[2] = {{s->head, head_size}, {body, body_size}};
        struct iovec *first = parts;
        size_t skip = s->sent;
        if (skip >= head_size) {
            skip -= head_size;
            first++;
        }
        first->iov_base = (char *)first->iov_base + skip;
        first->iov_len -= skip;
        struct msghdr m = {.msg_iov = first, .msg_iovlen = (size_t)(parts + 2 - first)};
        ssize_t n = s->ssl ? put_record(s) : sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return; /* EPOLLOUT comes: every session is registered for both */
        if (n <= 0) {
            lose(s, "send of a body");
            return;
        }
        s->sent += (size_t)n;
    }
    s->since = now();
}

static void begin_body(struct session *s) {
    s->state = BODY;
    s->pending = 1;
    s->sent = 0;
    s->size = head_size + body_size;
    say_body(s);
}

/* -- the dialogue ---------------------------------------------------------------- */

static int out_of_work(void) {
    if (!stopping && (started >= opt.messages || told_to_stop ||
                      (deadline && now() >= deadline)))
        stopping = 1;
    return stopping;
}

static void begin_message(struct session *s) {
    char text[COMMAND_OCTETS];
    if (out_of_work()) {
        say(s, QUIT, "QUIT\r\n", 6);
        return;
    }
    s->number = started++;
    s->recipient = 0;
    s->failed = 0;
    uint64_t rest = s->number;
    for (int i = ID_DIGITS; i-- > 0; rest /= 10)
        s->head[id_at + (size_t)i] = (char)('0' + rest % 10);
    if (opt.pipeline) {
        size_t size = group_size;
        for (int n = 0; n < opt.recipients; n++)
            size += recipient(group + size, COMMAND_OCTETS, s->number, (uint32_t)n);
        if (opt.bdat) {
            s->recipient = (uint32_t)opt.recipients;
            say(s, RCPT, group, size);
            s->pending = 1 + (uint32_t)opt.recipients;
            return;
        }
        memcpy(group + size, "DATA\r\n", 6);
        say(s, DATA, group, size + 6);
        s->pending = 2 + (uint32_t)opt.recipients;
        return;
    }
    memcpy(text, group, group_size);
    say(s, MAIL, text, group_size);
}

static void next_recipient(struct session *s) {
    char text[COMMAND_OCTETS];
    if (s->recipient == (uint32_t)opt.recipients) {
        if (opt.bdat) {
            begin_body(s);
            return;
        }
        say(s, DATA, "DATA\r\n", 6);
        return;
    }
    size_t size = recipient(text, sizeof text, s->number, s->recipient++);
    say(s, RCPT, text, size);
}

static void note_acknowledged(struct session *s) {
    uint64_t t = now();
    observe(t - s->since);
    last_progress = finished_at = t;
    acknowledged++;
    if (acked_file >= 0)
        acked_size += (size_t)snprintf(acked_text + acked_size,
                                       sizeof acked_text - acked_size, "%s%0*llu\n",
                                       opt.tag, ID_DIGITS,
                                       (unsigned long long)s->number);
}

static void note_acked_on_disk(void) {
    if (acked_size && write(acked_file, acked_text, acked_size) != (ssize_t)acked_size) {
        perror("load: the file of acknowledged ids");
        exit(2);
    }
    acked_size = 0;
}

/* A refused transaction is given up; what it held counts as refused, once. */
static void give_up(struct session *s) {
    char text[16];
    s->failed = 1;
    refused++;
    last_progress = now();
    snprintf(text, sizeof text, "%d", s->code);
    complain("refused", text);
    if (opt.tolerant) { /* as a polite client: leave, come back after a pause */
        say(s, QUIT, "QUIT\r\n", 6);
        return;
    }
    stopping = 1;
    if (s->state == BODY)
        begin_message(s);
    else
        say(s, RSET, "RSET\r\n", 6);
}

static void keep_ticket(struct session *s) {
    void *ticket = tls.SSL_get1_session(s->ssl);
    if (ticket && tls.SSL_SESSION_is_resumable(ticket)) {
        if (s->ticket)
            tls.SSL_SESSION_free(s->ticket);
        s->ticket = ticket;
    } else if (ticket)
        tls.SSL_SESSION_free(ticket);
}

/* Closes; a session whose transaction went well may come back at once. */
static void retire(struct session *s, int at_once) {
    if (s->ssl) {
        if (opt.resume)
            keep_ticket(s);
        tls.SSL_shutdown(s->ssl); /* without it OpenSSL takes the ticket for spent */
        tls.SSL_free(s->ssl);
        tls.ERR_clear_error(); /* SSL_get_error of the next one looks at the queue */
        s->ssl = NULL;
    }
    close(s->fd);
    s->fd = -1;
    s->state = AWAY;
    s->since = at_once ? 0 : now();
    away++;
}

static void lose(struct session *s, const char *why) {
    if (s->state != QUIT) {
        complain(why, strerror(errno));
        broken++;
        if (!opt.tolerant)
            stopping = 1;
    }
    retire(s, 0);
}

static void connect_session(struct session *s) {
    int one = 1;
    s->fd = socket(peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        perror("load: socket");
        exit(2);
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->state = CONNECTING;
    s->column = 0;
    s->last = s->failed = 0;
    s->sent = s->size = 0;
    s->pending = 1;
    away--;
    if (connect(s->fd, (struct sockaddr *)&peer, peer_size) < 0 && errno != EINPROGRESS) {
        lose(s, "connect");
        return;
    }
    watch(s, EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLL_CTL_ADD);
}

static void note_shaken(struct session *s) {
    shaken++;
    resumed += (uint64_t)tls.SSL_session_reused(s->ssl);
    if (opt.starttls) {
        say(s, EHLO, "EHLO load.invalid\r\n", 19);
        return;
    }
    s->state = GREETING;
    s->pending = 1;
}

static void shake(struct session *s) {
    if (tls_outcome(s->ssl, tls.SSL_do_handshake(s->ssl)) > 0)
        note_shaken(s);
    else if (errno != EAGAIN)
        lose(s, "TLS handshake");
}

static void begin_tls(struct session *s) {
    s->ssl = tls.SSL_new(tls.context);
    tls.SSL_set_fd(s->ssl, s->fd);
    tls.SSL_set_connect_state(s->ssl);
    if (s->ticket)
        tls.SSL_set_session(s->ssl, s->ticket);
    s->state = SHAKING;
    shake(s);
}

/* Only handshakes are counted: the greeting, or the second EHLO, is the end of one. */
static void leave_again(struct session *s) {
    started++;
    s->since = begun_at;
    note_acknowledged(s);
    retire(s, 1);
}

/* A whole reply has come and no other is due: take the next step. */
static void advance(struct session *s) {
    int good = s->code >= 200 && s->code < 400;
    switch ((enum state)s->state) {
    case CONNECTING:
    case GREETING:
        if (!good)
            lose(s, "greeting");
        else if (opt.handshakes && opt.implicit)
            leave_again(s);
        else
            say(s, EHLO, "EHLO load.invalid\r\n", 19);
        break;
    case EHLO:
        if (opt.starttls && !s->ssl)
            say(s, STARTTLS, "STARTTLS\r\n", 10);
        else if (opt.handshakes)
            leave_again(s);
        else
            begin_message(s);
        break;
    case STARTTLS:
        if (good)
            begin_tls(s);
        else
            lose(s, "STARTTLS");
        break;
    case RSET:
        begin_message(s);
        break;
    case MAIL:
        good ? next_recipient(s) : give_up(s);
        break;
    case RCPT:
        good ? next_recipient(s) : give_up(s);
        break;
    case DATA:
        s->code == 354 ? begin_body(s) : give_up(s);
        break;
    case BODY:
        if (!good) {
            give_up(s);
            break;
        }
        note_acknowledged(s);
        if (opt.per_connection)
            say(s, QUIT, "QUIT\r\n", 6);
        else
            begin_message(s);
        break;
    case QUIT:
        retire(s, opt.per_connection && !s->failed);
        break;
    case SHAKING:
    case AWAY:
        break;
    }
}

static void reply_octets(struct session *s, const char *p, const char *end) {
    int fd = s->fd;
    while (p < end && s->fd == fd) {
        for (; s->column < 4 && p < end && *p != '\n'; p++, s->column++) {
            if (s->column == 0)
                s->code = 0;
            if (s->column < 3)
                s->code = (uint16_t)(s->code * 10 + (*p - '0'));
            else
                s->last = *p != '-';
        }
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            return;
        p = stop + 1;
        if (s->column < 4)
            s->last = 1;
        s->column = 0;
        if (s->last && --s->pending == 0)
            advance(s);
    }
}

static void hear(struct session *s, int ended) {
    char text[REPLY_OCTETS];
    for (;;) {
        ssize_t n = s->ssl
            ? tls_outcome(s->ssl, tls.SSL_read(s->ssl, text, sizeof text))
            : recv(s->fd, text, sizeof text, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            if (n == 0)
                errno = ECONNRESET;
            lose(s, "connection");
            return;
        }
        void *ssl = s->ssl;
        reply_octets(s, text, text + n);
        if (s->fd < 0 || ssl != s->ssl)
            return;
        if (!ended && (s->ssl ? !tls.SSL_has_pending(s->ssl) : (size_t)n < sizeof text))
            return; /* edge triggered, but a short read has emptied the socket; an end
                       that came with the octets has no event of its own */
    }
}

/* -- the loop -------------------------------------------------------------------- */

static void reconnect(void) {
    uint64_t t = now();
    for (int i = 0; i < opt.sessions && away; i++) {
        struct session *s = &sessions[i];
        if (s->state == AWAY && (!s->since || t - s->since > PAUSE_MS * 1000000ull))
            connect_session(s);
    }
}

/* When no work is left, who still waits for a greeting need not wait longer. */
static void abandon(void) {
    for (int i = 0; i < opt.sessions; i++)
        if (sessions[i].fd >= 0 && sessions[i].state <= SHAKING)
            retire(&sessions[i], 0);
}

static int turn(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, away ? PAUSE_MS / 4 : 100);
    for (int i = 0; i < n; i++) {
        struct session *s = events[i].data.ptr;
        if (s->fd < 0)
            continue;
        if (s->state == CONNECTING && opt.implicit) {
            if (events[i].events & EPOLLOUT)
                begin_tls(s);
            continue;
        }
        if (s->state == SHAKING)
            shake(s);
        if (s->fd >= 0 && s->sent < s->size && (events[i].events & EPOLLOUT))
            say_body(s);
        if (s->fd >= 0 && s->state != SHAKING && (events[i].events & ~(uint32_t)EPOLLOUT))
            hear(s, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
    if (acked_size)
        note_acked_on_disk();
    if (n == 0 && out_of_work())
        abandon();
    if (away == opt.sessions && out_of_work())
        return 0;
    if (away && !out_of_work())
        reconnect();
    if (n <= 0 && now() - last_progress > (uint64_t)(opt.timeout * 1e9)) {
        complain("timeout", "no reply");
        return -1;
    }
    return 1;
}

static void report(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    double took = (double)((finished_at ? finished_at : now()) - begun_at) / 1e9;
    double count = acknowledged ? (double)acknowledged : 1;
    printf("{\"started\": %llu, \"acknowledged\": %llu, \"refused\": %llu, "
           "\"broken\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"cpu_us\": %.2f, "
           "\"latency_us\": {\"p50\": %.0f, \"p90\": %.0f, \"p99\": %.0f, "
           "\"p999\": %.0f, \"max\": %.0f}, \"handshakes\": %llu, "
           "\"resumed\": %llu, \"first_error\": \"%s\"}\n",
           (unsigned long long)started, (unsigned long long)acknowledged,
           (unsigned long long)refused, (unsigned long long)broken, took,
           (double)acknowledged / took, cpu / count, percentile(0.5), percentile(0.9),
           percentile(0.99), percentile(0.999), (double)slowest / 1000,
           (unsigned long long)shaken, (unsigned long long)resumed, first_error);
}

static void find_peer(void) {
    struct sockaddr_in *v4 = (void *)&peer;
    struct sockaddr_in6 *v6 = (void *)&peer;
    if (inet_pton(AF_INET, opt.host, &v4->sin_addr) == 1 &&
        ntohl(v4->sin_addr.s_addr) >> 24 == 127) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)opt.port);
        peer_size = sizeof *v4;
    } else if (inet_pton(AF_INET6, opt.host, &v6->sin6_addr) == 1 &&
               IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)opt.port);
        peer_size = sizeof *v6;
    } else {
        fprintf(stderr, "load: %s is not a loopback address\n", opt.host);
        exit(2);
    }
}

static const struct option options[] = {
    {"host", 1, 0, 'h'},       {"port", 1, 0, 'p'},           {"to", 1, 0, 't'},
    {"from", 1, 0, 'f'},       {"sessions", 1, 0, 's'},       {"size", 1, 0, 'l'},
    {"messages", 1, 0, 'm'},   {"seconds", 1, 0, 'd'},        {"recipients", 1, 0, 'r'},
    {"mailboxes", 1, 0, 'b'},  {"per-connection", 0, 0, 'c'}, {"pipeline", 0, 0, 'i'},
    {"tolerant", 0, 0, 'o'},   {"acked", 1, 0, 'a'},          {"tag", 1, 0, 'g'},
    {"timeout", 1, 0, 'w'},    {"tls", 0, 0, 'x'},            {"starttls", 0, 0, 'y'},
    {"resume", 0, 0, 'z'},     {"handshakes", 0, 0, 'k'},     {"bdat", 0, 0, 'n'},
    {0, 0, 0, 0},
};

static void set(int letter) {
    switch (letter) {
    case 'h': opt.host = optarg; break;
    case 'p': opt.port = atoi(optarg); break;
    case 't': opt.to = optarg; break;
    case 'f': opt.from = optarg; break;
    case 's': opt.sessions = atoi(optarg); break;
    case 'l': opt.payload = strtoul(optarg, NULL, 10); break;
    case 'm': opt.messages = strtoull(optarg, NULL, 10); break;
    case 'd': opt.seconds = atof(optarg); break;
    case 'r': opt.recipients = atoi(optarg); break;
    case 'b': opt.mailboxes = atoi(optarg); break;
    case 'c': opt.per_connection = 1; break;
    case 'i': opt.pipeline = 1; break;
    case 'o': opt.tolerant = 1; break;
    case 'a': opt.acked = optarg; break;
    case 'g': opt.tag = optarg; break;
    case 'w': opt.timeout = atof(optarg); break;
    case 'x': opt.implicit = 1; break;
    case 'y': opt.starttls = 1; break;
    case 'z': opt.resume = 1; break;
    case 'k': opt.handshakes = opt.per_connection = 1; break;
    case 'n': opt.bdat = 1; break;
    default: exit(2);
    }
}

static void stop(int signal) {
    (void)signal;
    told_to_stop = 1;
}

static void prepare(int argc, char **argv) {
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        set(c);
    if (!opt.port || opt.sessions < 1 || opt.recipients < 1 || !strchr(opt.to, '@') ||
        (opt.messages == UINT64_MAX && opt.seconds <= 0)) {
        fputs("usage: load --port N (--messages N | --seconds S) [--sessions N] "
              "[--size OCTETS] [--recipients N] [--mailboxes N] [--per-connection] "
              "[--pipeline] [--tolerant] [--acked FILE] [--tag T] [--to A] [--from A] "
              "[--host LOOPBACK] [--timeout S] [--tls | --starttls] [--resume] "
              "[--handshakes] [--bdat]\n", stderr);
        exit(2);
    }
    find_peer();
    sessions = calloc((size_t)opt.sessions, sizeof *sessions);
    group = malloc(COMMAND_OCTETS * ((size_t)opt.recipients + 3));
    group_size = (size_t)sprintf(group, "MAIL FROM:<%s>\r\n", opt.from);
    compose();
    if (opt.acked)
        acked_file = open(opt.acked, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opt.acked && acked_file < 0) {
        perror(opt.acked);
        exit(2);
    }
    if (opt.implicit || opt.starttls)
        tls_open();
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
}

int main(int argc, char **argv) {
    int going;
    prepare(argc, argv);
    poller = epoll_create1(EPOLL_CLOEXEC);
    begun_at = last_progress = now();
    if (opt.seconds > 0)
        deadline = begun_at + (uint64_t)(opt.seconds * 1e9);
    for (int i = 0; i < opt.sessions; i++)
        sessions[i].fd = -1;
    away = opt.sessions;
    while ((going = turn()) > 0)
        ;
    report();
    if (going < 0)
        return 3;
    return (refused || broken) && !opt.tolerant;
}
